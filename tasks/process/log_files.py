"""Writes a process's output to a file, and begins a new file when it is full.

The new file replaces descriptors 1 and 2 in one step, so no line is lost between two files.
"""

import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

KEPT = 3  # old files: NAME.1 is the latest
LOOK_EVERY = 1.0  # s; a file may exceed its size by what is written in this time


def redirect_output(path: Path, max_bytes: int) -> "OutputFile":
    """Sends stdout and stderr of this process to that file."""
    output = OutputFile(path, max_bytes)
    output.open()
    threading.Thread(target=output.run_forever, name="log-file", daemon=True).start()
    return output


class OutputFile:
    """The file that is this process's stdout and stderr."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes

    def open(self) -> None:
        """Opens the file and makes it stdout and stderr."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        for descriptor in (1, 2):
            os.dup2(file, descriptor)
        os.close(file)

    def run_once(self) -> bool:
        """Starts a new file if the current one is full or was removed. Returns whether it did."""
        if not (rotate(self._path, self._max_bytes) or self._is_gone()):
            return False
        self.open()
        return True

    def run_forever(self) -> None:
        """Checks the file every second. A full disk must not end the process."""
        while True:
            time.sleep(LOOK_EVERY)
            with suppress(OSError):
                self.run_once()

    def _is_gone(self) -> bool:
        try:
            return self._path.stat().st_ino != os.fstat(1).st_ino
        except FileNotFoundError:
            return True


def rotate(path: Path, max_bytes: int) -> bool:
    """Renames a file that is too large to NAME.1, and NAME.1 to NAME.2 and so on. Returns whether it did."""
    try:
        if path.stat().st_size <= max_bytes:
            return False
    except FileNotFoundError:
        return False
    for number in range(KEPT, 1, -1):
        with suppress(FileNotFoundError):
            numbered(path, number - 1).replace(numbered(path, number))
    path.replace(numbered(path, 1))
    return True


def numbered(path: Path, number: int) -> Path:
    """The name of the old file with this number."""
    return path.with_name(f"{path.name}.{number}")


def oldest_first(path: Path) -> list[Path]:
    """The old files and the current one, in the order in which they were written."""
    names = [*(numbered(path, number) for number in range(KEPT, 0, -1)), path]
    return [name for name in names if name.exists()]

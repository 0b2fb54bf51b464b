"""The lock on the store's data. Valkey inherits it as a descriptor, so it lasts as long as Valkey runs.

A lock held by the command alone would end with the command. A Valkey that hangs may outlive it, and a new Valkey would then
write into the same file.
"""

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from cli.stack.start_failed import StartFailed

# For a Valkey whose `kingpost up` is gone, because the kernel has told it to end.
LEAVING_SECONDS = 5.0
ENDING_SECONDS = 5.0  # from SIGKILL to the end
LOOK_EVERY = 0.05  # s
SERVER = "valkey-server"


def take(folder: Path, say: Callable[[str], None]) -> IO[bytes]:
    """Takes the lock on the data in that folder. Ends a Valkey that still holds it although its `kingpost up` is gone.

    Raises StartFailed when another program holds the lock, or when that Valkey cannot be ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / "lock").open("ab")
    try:
        if not _lock_within(lock, LEAVING_SECONDS):
            _end_holders(lock, folder, say)
    except BaseException:
        lock.close()
        raise
    return lock


def _end_holders(lock: IO[bytes], folder: Path, say: Callable[[str], None]) -> None:
    found = holders(lock)
    servers = [pid for pid, program in found.items() if program.startswith(SERVER)]
    for pid in servers:  # no write is lost: each was on the disk before it was answered
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    if servers and _lock_within(lock, ENDING_SECONDS):
        numbers = ", ".join(map(str, servers))
        say(f"Ended a Valkey that an earlier `kingpost up` left behind (process {numbers}).")
        return
    who = ", ".join(f"process {pid}, {program}" for pid, program in holders(lock).items())
    raise StartFailed(
        f"The data in {folder} is in use by {who or 'another process'}, which does not end. End that process, then try again."
    )


def holders(file: IO[bytes]) -> dict[int, str]:
    """Maps each other process that has this file open to the name of its program. Empty where there is no /proc."""
    wanted, found = os.fstat(file.fileno()), dict[int, str]()
    for process in Path("/proc").glob("[0-9]*"):
        pid = int(process.name)
        with contextlib.suppress(OSError):  # it has ended, or it is another user's
            for descriptor in (process / "fd").iterdir():
                if pid != os.getpid() and _is_same_file(descriptor, wanted):
                    found[pid] = Path(os.readlink(process / "exe")).name
                    break
    return found


def _is_same_file(descriptor: Path, wanted: os.stat_result) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(descriptor.stat(), wanted)
    return False


def _lock_within(lock: IO[bytes], seconds: float) -> bool:
    """Whether the lock could be taken within that time."""
    ends = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= ends:
                return False
            time.sleep(LOOK_EVERY)
        else:
            return True

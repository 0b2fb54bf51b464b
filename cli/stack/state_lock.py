"""The lock on a state folder: one command uses it at a time, and others can read what that command does."""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Generator
from pathlib import Path

from cli.stack.start_failed import StartFailed
from tasks.process.private_files import keep_private

STARTING, RUNNING, STOPPING = "starting", "running", "stopping"
LONGEST_NOTE = 100  # bytes; a note is one word
SetNote = Callable[[str], None]
# `note_of_holder` locks the folder for a moment, so `locked` tries for a second before it says that the folder is in use.
TRIES, AGAIN_SECONDS = 50, 0.02


@contextlib.contextmanager
def locked(state: Path) -> Generator[SetNote]:
    """Makes the state folder if there is none, keeps it private and locks it, so that only one command uses it. Gives a function that notes what this command does: STARTING, RUNNING or STOPPING.

    Raises StartFailed when the folder cannot be written or locked, or when another command holds it.
    """
    try:
        state.mkdir(parents=True, exist_ok=True)
        keep_private(state)
        lock = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        message = f"The state folder {state} cannot be written: {error.strerror}."
        raise StartFailed(f"{message} Choose another folder with --state.") from error
    try:
        _take(lock, state)

        def set_note(word: str) -> None:
            with contextlib.suppress(OSError):  # a full disk
                os.ftruncate(lock, 0)
                os.pwrite(lock, word.encode(), 0)

        set_note("")
        yield set_note
    finally:
        os.close(lock)


def _take(lock: int, state: Path) -> None:
    try:
        taken = any(_try_lock(lock) for _ in range(TRIES))
    except OSError as error:
        message = f"The state folder {state} cannot be locked: {error.strerror}."
        raise StartFailed(f"{message} Choose another folder with --state.") from error
    if not taken:
        message = f"Another `kingpost up` or `kingpost repair` uses {state}"
        raise StartFailed(f"{message}; stop it, or choose another folder with --state.")


def _try_lock(lock: int) -> bool:
    """Whether the lock could be taken. Waits AGAIN_SECONDS if not."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(AGAIN_SECONDS)
        return False
    return True


def note_of_holder(state: Path) -> str | None:
    """What the command that has locked the folder does; "" if it has not noted it, as `kingpost repair`.

    None when no command has locked the folder, or when that cannot be found out.
    """
    with contextlib.suppress(OSError), (state / "lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return lock.read(LONGEST_NOTE).decode()
    return None

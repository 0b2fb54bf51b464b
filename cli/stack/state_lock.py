"""The lock on a state folder: one command uses it at a time, and others can read what that command does."""

import contextlib
import fcntl
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO

from cli.stack.start_failed import StartFailed
from tasks.process.private_files import keep_private

STARTING, RUNNING, STOPPING = "starting", "running", "stopping"
Note = Callable[[str], None]
# `holder` locks the folder for a moment, so `locked` tries for a second before it says that the folder is in use.
TRIES, AGAIN_SECONDS = 50, 0.02


@contextlib.contextmanager
def locked(state: Path) -> Generator[Note]:
    """Locks the state folder, so that only one command uses it. Gives a function that notes what this command does: STARTING, RUNNING or STOPPING. Raises StartFailed."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        keep_private(state)
        lock = (state / "lock").open("a+")
    except OSError as error:
        raise StartFailed(
            f"The state folder {state} cannot be written: {error.strerror}."
        ) from error
    with lock:
        if not any(_try_lock(lock) for _ in range(TRIES)):
            message = f"Another `kingpost up` uses {state}; stop it, or choose another folder with --state."
            raise StartFailed(message)

        def note(word: str) -> None:
            with contextlib.suppress(OSError):  # a full disk
                lock.truncate(0)
                lock.write(word)
                lock.flush()

        note("")
        yield note


def _try_lock(lock: IO[str]) -> bool:
    """Whether the lock could be taken. Waits AGAIN_SECONDS if not."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(AGAIN_SECONDS)
        return False
    return True


def holder(state: Path) -> str | None:
    """The note of the command that has locked the folder: what it does. None when no command has locked it."""
    with contextlib.suppress(OSError), (state / "lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return lock.read()
    return None

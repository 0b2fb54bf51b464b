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
# A command that reads what another one does locks the folder for a moment.
TRIES, AGAIN_SECONDS = 50, 0.02


@contextlib.contextmanager
def locked(state: Path) -> Generator[Note]:
    """Locks the state folder, so that only one command uses it. Gives a function that notes what it does. Raises StartFailed."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        keep_private(state)
        lock = (state / "lock").open("a+")
    except OSError as error:
        raise StartFailed(
            f"The state folder {state} cannot be written: {error.strerror}."
        ) from error
    with lock:
        if not any(_taken(lock) for _ in range(TRIES)):
            message = f"Another `kingpost up` uses {state}; stop it, or choose another folder with --state."
            raise StartFailed(message)

        def note(word: str) -> None:
            with contextlib.suppress(OSError):  # a full disk
                lock.truncate(0)
                lock.write(word)
                lock.flush()

        note("")
        yield note


def _taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(AGAIN_SECONDS)
        return False
    return True


def holder(state: Path) -> str | None:
    """What the command that has locked the folder does, as it noted it. None when none has."""
    with contextlib.suppress(OSError), (state / "lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return lock.read()
    return None

"""Limits how many processes that share a state folder do a kind of work at once, with file locks that end with their holders."""

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO

from tasks.settings import Settings

LOOK_EVERY = 0.1  # s, between looks whether a turn is free


class ReplicaStops(Exception):
    """The replica stops, so it gives up what it waits for or builds."""


class Turns:
    """One kind of work at which the replicas of one state folder take turns. At most `most` work at once."""

    def __init__(self, folder: Path, most: int) -> None:
        self.most = most
        self._files = [folder / f"{number}.lock" for number in range(most)]

    @classmethod
    def to_load(cls, settings: Settings) -> "Turns":
        """The turns for loading models: one for each core, which a load keeps busy, and at least two, so that a slow one does not block all."""
        most = settings.node_loads or max(os.cpu_count() or 1, 2)
        return cls(settings.state_dir.resolve() / "run" / "loads", most)

    @classmethod
    def to_build(cls, settings: Settings) -> "Turns":
        """The turns for building virtualenvs."""
        return cls(settings.state_dir.resolve() / "run" / "builds", settings.node_builds)

    @contextlib.contextmanager
    def taken(
        self, stopping: threading.Event, on_wait: Callable[[], None], waits: bool = True
    ) -> Generator[None]:
        """Waits for a turn, and calls `on_wait` once if none is free. With `waits` False it goes on without one.

        Raises ReplicaStops if `stopping` is set meanwhile, and OSError if the folder cannot be written.
        """
        with contextlib.ExitStack() as held:
            if not self._take(held) and waits:
                on_wait()
                while not self._take(held):
                    if stopping.wait(LOOK_EVERY):
                        raise ReplicaStops
            yield

    def _take(self, held: contextlib.ExitStack) -> bool:
        """Locks the first free file, for as long as `held` is open. False if none is free."""
        for path in self._files:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.open("w")
            if try_lock(lock, fcntl.LOCK_EX):
                held.enter_context(lock)
                return True
            lock.close()
        return False


def try_lock(lock: IO[str], how: int) -> bool:
    """Takes a lock of `flock` on an open file, LOCK_SH or LOCK_EX. False if another holder is in the way."""
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

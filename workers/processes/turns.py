"""Turns: no more than so many at once on a machine, by locks on files, which end with whoever holds them."""

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
    """What the replica waits for or builds is given up."""


class Turns:
    """One kind of work that replicas of one state folder take turns at."""

    def __init__(self, folder: Path, most: int) -> None:
        self._files = [folder / f"{number}.lock" for number in range(most)]

    @classmethod
    def to_load(cls, settings: Settings) -> "Turns":
        """For loads of models: each keeps a core busy, and memory beyond what it needs later."""
        most = settings.node_loads or max(os.cpu_count() or 1, 2)
        return cls(settings.state_dir.resolve() / "run" / "loads", most)

    @classmethod
    def to_build(cls, settings: Settings) -> "Turns":
        """For builds of environments."""
        return cls(settings.state_dir.resolve() / "run" / "builds", settings.node_builds)

    @contextlib.contextmanager
    def taken(self, stopping: threading.Event, waits: Callable[[], None]) -> Generator[None]:
        """A turn; `waits` is called when there is none yet. Raises ReplicaStops when it is to stop meanwhile."""
        with contextlib.ExitStack() as held:
            if not self._take(held):
                waits()
                while not self._take(held):
                    if stopping.wait(LOOK_EVERY):
                        raise ReplicaStops
            yield

    def _take(self, held: contextlib.ExitStack) -> bool:
        for path in self._files:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.open("w")
            if _locked(lock):
                held.enter_context(lock)
                return True
            lock.close()
        return False


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

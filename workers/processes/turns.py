"""Limits how many processes that share a state folder do a kind of work at once, with file locks that end with their holders."""

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO, cast

from tasks.settings import Settings

LOOK_EVERY = 0.1  # s, between looks whether a turn is free
SHOWN_STEP = 10  # s, of how long a turn has lasted: each new text goes to the directory


class ReplicaStops(Exception):
    """The replica stops, so it gives up what it waits for or builds."""


class Turns:
    """One kind of work at which the replicas of one state folder take turns. At most `most` work at once.

    `name` says to the others who works. Those who go first wait, but none of the others takes a turn meanwhile.
    """

    def __init__(
        self, folder: Path, most: int, name: str = "", *, goes_first: bool = False
    ) -> None:
        self.most = most
        self._folder, self._name, self._goes_first = folder, name, goes_first
        self._files = [folder / f"{number}.lock" for number in range(most)]

    @classmethod
    def to_load(cls, settings: Settings, name: str = "", *, goes_first: bool = False) -> "Turns":
        """The turns for loading models: one for each core, which a load keeps busy, and at least two, so that a slow one does not block all."""
        most = settings.node_loads or max(os.cpu_count() or 1, 2)
        folder = settings.state_dir.resolve() / "run" / "loads"
        return cls(folder, most, name, goes_first=goes_first)

    @classmethod
    def to_build(cls, settings: Settings) -> "Turns":
        """The turns for building virtualenvs."""
        return cls(settings.state_dir.resolve() / "run" / "builds", settings.node_builds)

    @contextlib.contextmanager
    def taken(
        self, stopping: threading.Event, on_wait: Callable[[str], None], waits: bool = True
    ) -> Generator[Callable[[], None]]:
        """Waits for a turn. With `waits` False it goes on without one. The value gives the turn back before the end of the block.

        While it waits, `on_wait` is called with each new text on who works, such as "big (for 40 s) and small"; '' = not known.

        Raises ReplicaStops if `stopping` is set meanwhile, and OSError if the folder cannot be written.
        """
        with contextlib.ExitStack() as held:
            if not self._take(held) and waits:
                self._wait(held, stopping, on_wait)
            yield held.close

    def _wait(
        self,
        held: contextlib.ExitStack,
        stopping: threading.Event,
        on_wait: Callable[[str], None],
    ) -> None:
        said: str | None = None
        with contextlib.ExitStack() as queue:
            queued = False
            while not self._take(held):
                if self._goes_first and not queued:
                    queued = _lock(self._first_in_line, fcntl.LOCK_EX, queue)
                if (words := self._at_work()) != said:
                    said = words
                    on_wait(words)
                if stopping.wait(LOOK_EVERY):
                    raise ReplicaStops

    def _take(self, held: contextlib.ExitStack) -> bool:
        """Locks the first free file, for as long as `held` is open. False if none is free, or others go first."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as nobody_waits:
            if not (self._goes_first or _lock(self._first_in_line, fcntl.LOCK_SH, nobody_waits)):
                return False
            said = json.dumps([self._name, time.monotonic()])
            return any(_lock(path, fcntl.LOCK_EX, held, said) for path in self._files)

    @property
    def _first_in_line(self) -> Path:
        """One of those who go first locks this file while they wait; the others look whether it is locked."""
        return self._folder / "first.lock"

    def _at_work(self) -> str:
        """Who works, and for how long each has."""
        words: list[str] = []
        for path in self._files:
            # A holder that has just taken its turn has not written yet.
            with contextlib.suppress(OSError, ValueError, TypeError):
                name, began = cast(tuple[str, float], json.loads(path.read_text()))
                if name:
                    words.append(f"{name}{_lasted(time.monotonic() - began)}")
        return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _lasted(seconds: float) -> str:
    """How long a turn has lasted, in steps, so that the text seldom changes; '' for a short time."""
    steps = int(seconds) // SHOWN_STEP * SHOWN_STEP
    if steps <= 0:
        return ""
    return f" (for {steps} s)" if steps < 120 else f" (for {steps // 60} min)"


def _lock(path: Path, kind: int, held: contextlib.ExitStack, said: str = "") -> bool:
    """Locks the file, for as long as `held` is open, and writes `said` into it. False if another process has a lock that excludes it."""
    lock: IO[str] = path.open("a")  # without emptying it: its holder's words stand there
    if not try_lock(lock, kind):
        lock.close()
        return False
    held.enter_context(lock)
    if said:
        lock.truncate(0)
        lock.write(said)
        lock.flush()
    return True


def try_lock(lock: IO[str], how: int) -> bool:
    """Takes a lock of `flock` on an open file, LOCK_SH or LOCK_EX. False if another holder is in the way."""
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

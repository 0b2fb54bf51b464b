"""Who shares the model host: most jobs run side by side, a suspect runs alone.

When a host dies, nobody knows which of its jobs killed it; all are charged a death. A job that has seen two deaths, or
is one short of `poison`, therefore runs alone, so that a neighbour of a killer is not condemned with it.
"""

import contextlib
import threading
from collections.abc import Generator

from tasks.job import Job
from tasks.settings import Settings

SUSPECT_AFTER = 2  # deaths


def is_suspect(job: Job, settings: Settings) -> bool:
    """Whether it runs alone: from its third run on, and in its last. More deaths allowed are more chances alone."""
    return job.deaths >= min(SUSPECT_AFTER, settings.max_deaths - 1)


class Quarantine:
    """Many at once, or one alone; one who waits to be alone goes before those who came later."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sharing = 0
        self._alone = False
        self._waiting = 0

    @contextlib.contextmanager
    def shared(self) -> Generator[None]:
        """Runs beside others."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone and not self._waiting)
            self._sharing += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharing -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Generator[None]:
        """Waits until nobody else runs, then keeps everybody else out."""
        with self._changed:
            self._waiting += 1
            self._changed.wait_for(lambda: not self._alone and not self._sharing)
            self._waiting -= 1
            self._alone = True
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()

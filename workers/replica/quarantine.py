"""Decides which jobs share the model host: most run side by side, a suspect and one that ran out of memory run alone.

When a host dies, nobody knows which of its jobs killed it, so each of them is charged a death. A job with two deaths, or one death
short of `poison`, is a suspect. It runs alone, so that the killer does not condemn other jobs.
"""

import contextlib
import threading
from collections.abc import Generator

from tasks.job import Job
from tasks.settings import Settings
from tasks.state import ErrorCode

SUSPECT_AFTER = 2  # deaths


def is_suspect(job: Job, settings: Settings) -> bool:
    """Whether a job runs alone: after two deaths, in its last run before `poison`, and after it ran out of memory."""
    return ran_out_of_memory(job) or job.deaths >= min(SUSPECT_AFTER, settings.max_deaths - 1)


def ran_out_of_memory(job: Job) -> bool:
    """Whether its last attempt ran out of memory."""
    return bool(job.errors) and job.errors[-1].code == ErrorCode.MODEL_OUT_OF_MEMORY


class Quarantine:
    """Lets many jobs in at once, or one alone. A job that waits to be alone goes before jobs that came later."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sharing = 0  # jobs that run side by side
        self._alone = False
        self._waiting = 0  # jobs that wait to run alone

    @contextlib.contextmanager
    def shared(self) -> Generator[None]:
        """Runs the job beside others."""
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
        """Waits until no other job runs, then keeps all others out."""
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

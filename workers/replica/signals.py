"""SIGTERM and SIGINT: handlers that take no lock.

A handler runs in the main thread at any point, even inside the handler of an earlier signal. Celery's own handlers print and dispatch
under a plain lock. A second signal would then wait for ever for the lock that the first handler holds. Second signals are common: the
kernel sends SIGTERM when the parent dies, and the supervisor sends another.
"""

import signal
from queue import SimpleQueue

from celery.apps.worker import Worker
from celery.platforms import EX_FAILURE, EX_OK
from celery.worker import state


class ReplicaCelery(Worker):
    """Celery's worker. The first signal lets it finish its work, a second Ctrl-C ends it at once."""

    drain_asked: SimpleQueue[None]  # set by whoever made it

    def install_platform_tweaks(self, worker: Worker) -> None:
        """Celery calls this to install the handlers."""
        super().install_platform_tweaks(worker)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGINT and state.should_stop is not None:
            state.should_terminate = EX_FAILURE
        state.should_stop = EX_OK
        self.drain_asked.put(None)  # SimpleQueue.put is documented as reentrant


def ignore_signals() -> None:
    """Ignores signals when all is done, because a late one would change the exit code while the interpreter ends."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)

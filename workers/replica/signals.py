"""SIGTERM and SIGINT: handlers that take no lock.

A handler runs in the main thread, wherever that is, also inside the handler of the signal before. Celery's own handlers
print and dispatch under a plain lock, so the second signal waits for what the first one holds, for ever. The second one is common:
the kernel sends SIGTERM when the parent dies, and the supervisor sends another.
"""

import signal
from queue import SimpleQueue

from celery.apps.worker import Worker
from celery.platforms import EX_FAILURE, EX_OK
from celery.worker import state


class ReplicaCelery(Worker):
    """Celery's worker; the first signal ends it warm, a second Ctrl-C at once."""

    drain_asked: SimpleQueue[None]  # set by whoever made it

    def install_platform_tweaks(self, worker: Worker) -> None:
        """Celery's hook for handlers of signals."""
        super().install_platform_tweaks(worker)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGINT and state.should_stop is not None:
            state.should_terminate = EX_FAILURE
        state.should_stop = EX_OK
        self.drain_asked.put(None)  # reentrant, says its documentation


def ignore_signals() -> None:
    """When all is done: an interpreter that ends would let a late signal change the exit code."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)

"""The heartbeat: renews the leases of all running jobs in one call.

A store that does not answer ends no call, however long it takes. A lease that ran out meanwhile is renewed late. A call is stopped
only when the store says that another replica has claimed its job.
"""

import threading
from collections.abc import Callable

from tasks.process.loops import Guard
from tasks.settings import Settings
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tasks.store.verbs import Renewal
from workers.replica.runs import Run, Runs, StopReason

RETRY_SECONDS = 0.2  # after a beat that failed: the leases run out meanwhile


class Heartbeat:
    """Renews leases in a thread of its own, so that only the store can delay it."""

    def __init__(
        self,
        store: JobStore,
        runs: Runs,
        settings: Settings,
        stop_run: Callable[[Run, StopReason], None],
        report: Callable[[], None],
    ) -> None:
        self._store = store
        self._runs = runs
        self._every = settings.heartbeat_seconds
        self._stop_run = stop_run
        self._report = report
        self._beats = Guard("heartbeat", RETRY_SECONDS)
        self._reports = Guard("directory report", RETRY_SECONDS)
        self._stops = Guard("stop of a run", RETRY_SECONDS)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Starts beating."""
        self._thread.start()

    def stop(self) -> None:
        """Stops beating."""
        self._stopping.set()
        self._thread.join()

    def run_once(self) -> list[Renewal]:
        """Renews all leases and stops the runs that lost theirs. Returns the answers of the store, in the order of the runs.

        Raises StoreUnavailable.
        """
        runs = self._runs.all()
        renewals = self._store.run(verbs.renew([run.lease for run in runs])) if runs else []
        with self._reports.part():
            self._report()
        for run, renewal in zip(runs, renewals, strict=True):
            with self._stops.part():
                self._stop_if_lost(run, renewal)
        return renewals

    def _stop_if_lost(self, run: Run, renewal: Renewal) -> None:
        if renewal is Renewal.CANCELED:
            self._stop_run(run, StopReason.CANCELED)
        elif renewal is Renewal.LOST and self._runs.under(run.lease) is run:
            self._stop_run(run, StopReason.LOST)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            wait = RETRY_SECONDS
            with self._beats.round():
                self.run_once()
                wait = self._every
            self._stopping.wait(wait)

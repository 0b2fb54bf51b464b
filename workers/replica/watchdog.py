"""Watches running calls: time limits, the grace time after a stop, and the drain."""

import threading
from collections.abc import Callable
from time import monotonic

from tasks.process.loops import Guard
from tasks.settings import Settings
from workers.hosting.process import HostProcess
from workers.replica.runs import Run, Runs, StopReason

TICK = 0.1  # s; how late a limit may be noticed
BECAUSE = {
    StopReason.CANCELED: "was cancelled",
    StopReason.LOST: "is another replica's by now",
    StopReason.TIMEOUT: "took too long",
    StopReason.DRAIN: "still ran at the end of the drain",
}


class Watchdog:
    """Checks every run by the clock of this machine. It never calls the store."""

    def __init__(
        self,
        runs: Runs,
        host: HostProcess,
        settings: Settings,
        stop_run: Callable[[Run, StopReason], None],
    ) -> None:
        self._runs = runs
        self._host = host
        self._settings = settings
        self._stop_run = stop_run
        self._drain_ends: float | None = None
        self._looks = Guard("watch", TICK)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="watch", daemon=True)

    def start(self) -> None:
        """Starts watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stops watching."""
        self._stopping.set()
        self._thread.join()

    def drain(self) -> None:
        """Lets running calls go on for `drain_seconds`. Jobs that still run then are released."""
        self._drain_ends = monotonic() + self._settings.drain_seconds

    def run_once(self) -> None:
        """Checks every run once."""
        now = monotonic()
        for run in self._runs.all():
            with self._looks.round():
                self._look(run, now)

    def _look(self, run: Run, now: float) -> None:
        reason = self._due(run, now)
        if reason:
            self._stop_run(run, reason)
        grace = 0.0 if run.reason is StopReason.DRAIN else self._settings.stop_grace_seconds
        if run.stop_asked is not None and now - run.stop_asked > grace:
            why = BECAUSE[run.reason] if run.reason else "was to stop"
            self._host.end(run.generation, f"request {run.request_id} {why}")

    def _due(self, run: Run, now: float) -> StopReason | None:
        if run.reason is not None:
            return None
        if self._drain_ends is not None and now > self._drain_ends:
            return StopReason.DRAIN
        if now - run.started > self._settings.predict_timeout_seconds:
            return StopReason.TIMEOUT
        return None

    def _loop(self) -> None:
        while not self._stopping.wait(TICK):
            self.run_once()

"""Watches running calls: time limits, the grace time after a stop, and the drain."""

import threading
from collections.abc import Callable, Mapping
from time import monotonic

from deployments.packages.package import Runtime
from tasks.process.logs import get_logger
from tasks.process.loops import Guard
from tasks.settings import Settings
from workers.hosting.process import HostProcess
from workers.replica.runs import Run, Runs, StopReason

log = get_logger("watchdog")

TICK = 0.1  # s, between looks; how late a limit may be noticed
WHY_ENDED = {  # each completes "request ID"
    StopReason.CANCELED: "was cancelled",
    StopReason.LOST: "is another replica's by now",
    StopReason.TIMEOUT: "took too long",
    StopReason.DRAIN: "still ran at the end of the drain",
}
LONG_LOAD_SECONDS = 30.0  # a host that takes longer to load is not ended for one call
AFTER_CANCEL_SECONDS = 1.0  # after the package's own grace time, for async code to be cancelled


class Watchdog:
    """Checks every run by the clock of this machine. It never calls the store."""

    def __init__(
        self,
        runs: Runs,
        host: HostProcess,
        settings: Settings,
        stop_run: Callable[[Run, StopReason], None],
        runtimes: Mapping[str, Runtime],
    ) -> None:
        self._runs = runs
        self._runtimes = runtimes  # by deployment id
        self._host = host
        self._settings = settings
        self._stop_run = stop_run
        self._drain_ends: float | None = None  # on the monotonic clock, s
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
                self._check(run, now)

    def _check(self, run: Run, now: float) -> None:
        reason = self._stop_reason(run, now)
        if reason:
            self._stop_run(run, reason)
        if run.stop_asked is None or now - run.stop_asked <= self._grace(run):
            return
        if run.reason in (StopReason.CANCELED, StopReason.LOST) and self._may_go_on(run, now):
            if not run.left_running:
                log.info("job.left_running", request_id=run.request_id, reason=str(run.reason))
            run.left_running = True
            return
        why = WHY_ENDED[run.reason] if run.reason else "was to stop"
        self._host.end(run.generation, f"request {run.request_id} {why}")

    def _grace(self, run: Run) -> float:
        """Seconds that a run has to stop, before its host is ended."""
        if run.reason is StopReason.DRAIN:
            return 0.0
        grace, own = self._settings.stop_grace_seconds, self._runtime(run).stop_grace_seconds
        return grace if own is None else own + AFTER_CANCEL_SECONDS

    def _runtime(self, run: Run) -> Runtime:
        return self._runtimes[run.claim.job.deployment_id]

    def _may_go_on(self, run: Run, now: float) -> bool:
        """Whether a call that does not stop may run to its end. The end of its host might cost more. Its slot stays busy."""
        limit = self._settings.predict_timeout_seconds
        if self._drain_is_over(now) or now - run.started > limit:
            return False
        if policy := self._runtime(run).on_cancel:
            return policy == "finish_and_discard"
        if not self._host.answers:
            return False  # it is blocked, so its other calls do not get on either
        return self._host.load_seconds > LONG_LOAD_SECONDS or self._has_neighbours(run)

    def _has_neighbours(self, run: Run) -> bool:
        """Whether the host also runs calls that somebody waits for."""
        others = (other for other in self._runs.all() if other.generation == run.generation)
        return self._host.sync_calls > 0 or any(other.reason is None for other in others)

    def _drain_is_over(self, now: float) -> bool:
        return self._drain_ends is not None and now > self._drain_ends

    def _stop_reason(self, run: Run, now: float) -> StopReason | None:
        """Why the run has to end now; None if it may go on or was asked already."""
        if run.reason is not None:
            return None
        if self._drain_is_over(now):
            return StopReason.DRAIN
        if now - run.started > self._settings.predict_timeout_seconds:
            return StopReason.TIMEOUT
        return None

    def _loop(self) -> None:
        while not self._stopping.wait(TICK):
            self.run_once()

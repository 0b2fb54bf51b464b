"""Acts on the health of a model host: stops its traffic, lets it go on, or ends it so that another one follows.

The host asks its model or server on schedule and says for how long the checks have failed. The thresholds are those of
`health_checks` in config.yaml, in seconds.
"""

import threading
from collections.abc import Sequence
from time import monotonic

from deployments.packages.package import HealthChecks
from tasks.process.loops import Guard
from workers.hosting import client
from workers.hosting.process import HostProcess
from workers.hosting.sockets import HostSocket
from workers.wire.calls import HostState

LOOK_SECONDS = 1.0  # between looks; thresholds are ten seconds or more
# For so long checks may fail where the package sets no threshold.
DEFAULT_THRESHOLD_SECONDS = 1800  # before traffic stops or the host is restarted; as on Baseten
SICK_THRESHOLD_SECONDS = 60  # before a restart, once a request has failed on the unhealthy host


class HealthWatch:
    """Looks at one host once a second, in a thread of its own."""

    def __init__(
        self, host: HostProcess, sockets: Sequence[HostSocket], checks: Sequence[HealthChecks]
    ) -> None:
        self._host = host
        self._watched = list(zip(sockets, checks, strict=True))
        self._looks = Guard("health of the host", LOOK_SECONDS)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="health", daemon=True)

    def start(self) -> None:
        """Starts looking."""
        self._thread.start()

    def stop(self) -> None:
        """Stops looking."""
        self._stopping.set()
        self._thread.join()

    def run_once(self) -> None:
        """Asks the host once, and acts. A host that does not answer may finish its running calls."""
        if not self._host.ready.is_set():
            return
        generation = self._host.generation
        asked = [(client.state(s.worker_address), checks) for s, checks in self._watched]
        answered = [(state, checks) for state, checks in asked if state is not None]
        self._host.answers = len(answered) == len(asked)
        self._host.sync_calls = sum(state.open for state, _ in answered)
        for state, checks in answered:
            if why := self._why_end(state, checks):
                self._host.end(generation, why)
                return
            if why := _why_suspend(state, checks):
                self._host.suspend(generation, why)
        if self._host.answers and all(_is_well(state) for state, _ in answered):
            self._host.resume(generation)

    def _why_end(self, state: HostState, checks: HealthChecks) -> str:
        """Why the host has to end. It completes "was stopped because"; '' if the host may live on."""
        if state.fault:
            return state.fault
        limit = checks.restart_threshold_seconds
        if limit is None:
            limit = SICK_THRESHOLD_SECONDS if self._host.sick else DEFAULT_THRESHOLD_SECONDS
        is_young = monotonic() - self._host.ready_since < (checks.restart_check_delay_seconds or 0)
        if is_young or state.not_live_ms < limit * 1000:
            return ""
        return f"its health checks have failed for {limit} s"

    def _loop(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            with self._looks.round():
                self.run_once()


def _why_suspend(state: HostState, checks: HealthChecks) -> str:
    """Why the host gets no more calls, a sentence; '' if it may have them."""
    limit = checks.stop_traffic_threshold_seconds or DEFAULT_THRESHOLD_SECONDS
    if max(state.not_ready_ms, state.not_live_ms) < limit * 1000:
        return ""
    return f"Its health checks have failed for {limit} s, so it gets no calls."


def _is_well(state: HostState) -> bool:
    return state.not_ready_ms == 0 and state.not_live_ms == 0

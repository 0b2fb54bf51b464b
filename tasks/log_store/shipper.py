"""Brings the log lines of a process to the store. Code that logs never waits for it: lines that are too many are dropped and counted."""

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from tasks.errors import StoreUnavailable
from tasks.log_store.lines import KeptLine, fields_of, kept_line
from tasks.log_store.verbs import keep_lines
from tasks.process import logs
from tasks.process.loops import Guard
from tasks.settings import Settings
from tasks.store.job_store import JobStore

SHIP_EVERY = 0.25  # s
AT_ONCE = 200  # lines in one call of the store: about a millisecond of it
MOST_WAITING = 2000  # lines, while the store does not answer
MOST_CHARACTERS = 2_000_000  # of these together
NOTE_EVERY = 5.0  # s, between lines that say how many were dropped
STOP_SECONDS = 3.0  # for the last lines of a process that ends
LOUD = ('"level": "error"', '"level": "warning"', '"level": "critical"')
HEAD = 200  # characters at each end of a line in which its level is looked for
TOO_MANY = "more than KINGPOST_LOG_STORE_LINES_PER_SECOND"
STORE_AWAY = "the store did not answer"


class _Allowance:
    """How many lines may still go in this second."""

    def __init__(self, in_a_second: int) -> None:
        self._in_a_second = self._left = in_a_second

    def renew(self) -> None:
        """Another second has begun."""
        self._left = self._in_a_second

    def take(self) -> bool:
        """Whether one more may go."""
        self._left -= 1
        return self._left >= 0


class LogShipper:
    """Ships the lines of one process. A line belongs to the deployment that it names, else to that of its model, else to `default`.

    `models` has the deployment of each model. With a `default`, which a replica has, a line can name only that one and those of `models`.

    Warnings and errors have an allowance of their own, so that prints do not displace them.
    """

    def __init__(
        self,
        settings: Settings,
        models: Mapping[str, str] | None = None,
        default: str = "",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = JobStore(settings)
        self._models, self._default = models or {}, default
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._waiting: deque[str] = deque()
        self._characters = 0
        rate = settings.log_store_lines_per_second
        self._quiet, self._loud = _Allowance(rate), _Allowance(rate)
        self._second = self._noted = 0.0
        self._dropped: Counter[str] = Counter()
        self.dropped = 0  # lines, in all
        self._enabled = settings.log_store_lines > 0
        self._stopping = threading.Event()
        self._guard = Guard("log shipper", longest=5.0)
        self._thread = threading.Thread(target=self._run_forever, name="log-shipper", daemon=True)

    def start(self) -> None:
        """Takes every line that this process logs from now on."""
        if self._enabled:
            logs.add_listener(self.take)
            self._thread.start()

    def stop(self) -> None:
        """Ships the last lines, if the store takes them soon."""
        if self._enabled:
            logs.remove_listener(self.take)
            self._stopping.set()
            self._thread.join(STOP_SECONDS)
        self._store.close()

    def take(self, text: str) -> None:
        """Takes a line, or counts it as dropped. It never waits for the store."""
        with self._lock:
            now = self._monotonic()
            if now - self._second >= 1:
                self._second = now
                self._quiet.renew()
                self._loud.renew()
            if len(self._waiting) >= MOST_WAITING or self._characters >= MOST_CHARACTERS:
                self._drop(STORE_AWAY)
            elif not (self._loud if _is_loud(text) else self._quiet).take():
                self._drop(TOO_MANY)
            else:
                self._waiting.append(text)
                self._characters += len(text)

    def _drop(self, why: str) -> None:
        self._dropped[why] += 1
        self.dropped += 1

    def run_once(self) -> int:
        """Ships what waits, at most `AT_ONCE` lines. Returns how many. Raises StoreUnavailable; then they wait on."""
        with self._lock:
            count = min(len(self._waiting), AT_ONCE)
            taken = [self._waiting.popleft() for _ in range(count)]
            self._characters -= sum(map(len, taken))
        try:
            self._ship([fields_of(text) for text in taken])
        except StoreUnavailable:
            with self._lock:
                self._waiting.extendleft(reversed(taken))
                self._characters += sum(map(len, taken))
            raise
        if count < AT_ONCE:  # those that were dropped came after those that waited
            self._note_dropped()
        return count

    def _ship(self, lines: list[dict[str, Any]]) -> None:
        of_deployments: dict[str, list[KeptLine]] = defaultdict(list)
        for fields in lines:
            if deployment := self._deployment_of(fields):
                of_deployments[deployment].append(kept_line(fields))
        for deployment, kept in of_deployments.items():
            self._store.run(keep_lines(deployment, kept))

    def _deployment_of(self, fields: Mapping[str, Any]) -> str:
        said = fields.get("deployment")
        if isinstance(said, str) and said and self._may_name(said):
            return said
        return self._models.get(str(fields.get("model")), self._default)

    def _may_name(self, deployment: str) -> bool:
        """Whether its lines go to that deployment. What a replica prints is a model's, which must not fill other logs, or endless new ones."""
        return not self._default or deployment in (self._default, *self._models.values())

    def _note_dropped(self) -> None:
        now = self._monotonic()
        if not self._default or not self._dropped or now - self._noted < NOTE_EVERY:
            return
        with self._lock:
            dropped, self._dropped = self._dropped, Counter()
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        said = {"ts": at, "level": "warning", "event": "logs.dropped"}
        try:
            self._ship([{**said, "lines": count, "why": why} for why, count in dropped.items()])
        except StoreUnavailable:
            with self._lock:
                self._dropped.update(dropped)  # the next note says it
            raise
        self._noted = now

    def _run_forever(self) -> None:
        while True:
            stopping = self._stopping.wait(max(SHIP_EVERY, self._guard.delay))
            with self._guard.round():
                while self.run_once() == AT_ONCE:
                    pass
            if stopping:
                return


def _is_loud(text: str) -> bool:
    """Whether the line is a warning or an error. The level is at the beginning of a host's line, and at the end of ours."""
    ends = text if len(text) <= 2 * HEAD else text[:HEAD] + text[-HEAD:]
    return any(level in ends for level in LOUD)

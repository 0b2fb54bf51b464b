"""The last hour as a process knows it, for pages and for `/v1/history`.

It reads each minute once. It reads the current minute again after a change, or after two seconds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tasks.process.remembered import Remembered
from tasks.store import history
from tasks.store.history import MINUTES, NOTHING, Counts, Minute
from tasks.store.job_store import AsyncJobStore

FRESH_SECONDS = 2.0
MEDIAN, P95 = 0.5, 0.95


class Series:
    """The minutes of some deployments together, oldest first. `total` is the whole hour. Waits are in seconds, None where nothing was claimed."""

    def __init__(self, minutes: Sequence[Counts]) -> None:
        self.minutes, self.total = minutes, Counts.sum(minutes)
        self.waited_p50 = [counts.waited(MEDIAN) for counts in minutes]
        self.waited_p95 = [counts.waited(P95) for counts in minutes]
        self.ended = [counts.ended for counts in minutes]
        self.bad = [counts.bad for counts in minutes]


@dataclass(frozen=True)
class Hour:
    """The last hour, oldest minute first. `first` is the number of its first minute, counted from 1970."""

    first: int
    minutes: Sequence[Minute]
    _made: dict[frozenset[str], Series] = field(default_factory=dict[frozenset[str], Series])

    def busy(self) -> set[str]:
        """The deployments of which anything was counted."""
        return {deployment for minute in self.minutes for deployment in minute}

    def of(self, deployments: Iterable[str]) -> Series:
        """What became of the requests of these deployments."""
        wanted = frozenset(deployments)
        if wanted not in self._made:  # pages that are open at the same time ask for the same ones
            self._made[wanted] = Series([_together(minute, wanted) for minute in self.minutes])
        return self._made[wanted]


def _together(minute: Minute, wanted: frozenset[str]) -> Counts:
    known = minute.keys() & wanted if minute else ()
    parts = [minute[deployment] for deployment in known]
    return Counts.sum(parts) if len(parts) > 1 else parts[0] if parts else NOTHING


class History:
    """The history as this process knows it."""

    def __init__(self, store: AsyncJobStore) -> None:
        self._store = store
        self._minutes: dict[int, Minute] = {}
        self._hour = Remembered[int, Hour](self._read, FRESH_SECONDS, 1)

    async def hour(self, change: int = 0) -> Hour:
        """The last hour, at most two seconds old. Another `change`, any number, has it read again. Raises StoreUnavailable."""
        return await self._hour.get(change)

    async def _read(self, _: int) -> Hour:
        first = max(self._minutes, default=0)  # the last minute that was read may have grown
        while True:
            step = await self._store.run(history.history(first))
            if first > step.now:  # the clock was put back
                self._minutes, first = {}, 0
                continue
            self._minutes |= step.minutes
            first = max(step.minutes) + 1
            if first > step.now:
                break
        began = step.now - MINUTES + 1
        self._minutes = {at: minute for at, minute in self._minutes.items() if at >= began}
        return Hour(began, [self._minutes.get(began + at, {}) for at in range(MINUTES)])

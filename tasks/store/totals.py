"""What was counted of the jobs of each deployment since its first one, for metrics. The store counts, so no process that dies loses anything.

Counters, in a hash of each deployment:

- `submitted:LEVEL`
- `ended:STATUS:LEVEL:CODE`, where CODE is that of the last error
- `again:REASON`: back in the queue after `retry`, `death`, `sick`, `drain` or `rescue`
- `webhook:VERDICT:CLASS`: attempts, with the first digit of the answer's status, `-` without an answer

Durations are counted in steps: `wait:N` counts those of at most 2^N ms, and more than 2^(N-1). `wait:ms` is their sum.
`wait` is the time until the first claim, `run` the model's part of the attempt that ended the job, `all` the time from
submission to the end, and `delivery` the time from there until the webhook was delivered.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from priority.order import LEVELS
from tasks.store.records import Reply, items, number, text
from tasks.store.verbs import ScriptCall

STEPS = 29  # the last one, LAST_STEP in lib.lua, has all that takes longer, too
BATCH = 20  # deployments in one call of the store


@dataclass(frozen=True)
class Durations:
    """Durations by step, not cumulated, and their sum in seconds."""

    steps: tuple[int, ...]
    seconds: float

    def cumulated(self) -> Iterator[tuple[float, int]]:
        """For each step but the last its longest duration in seconds, and how many took no longer."""
        total = 0
        for step, count in enumerate(self.steps[:-1]):
            total += count
            yield 2**step / 1000, total

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.steps)


def step_of(seconds: float) -> int:
    """The step of a duration, as `measure` in lib.lua finds it."""
    mantissa, exponent = math.frexp(max(seconds * 1000, 1))
    return min(exponent - 1 if mantissa == 0.5 else exponent, STEPS - 1)


@dataclass(frozen=True)
class Counts:
    """Counters and durations by their names."""

    counts: Mapping[str, int]

    def of(self, what: str) -> Iterator[tuple[tuple[str, ...], int]]:
        """The counters of that name: the labels behind it, and the count."""
        for name, count in self.counts.items():
            first, *labels = name.split(":")
            if first == what:
                yield tuple(labels), count

    def durations(self, what: str) -> Durations:
        """The durations of that name."""
        steps = [self.counts.get(f"{what}:{step}", 0) for step in range(STEPS)]
        return Durations(tuple(steps), self.counts.get(f"{what}:ms", 0) / 1000)


@dataclass(frozen=True)
class Totals(Counts):
    """What was counted of one deployment, and how it stands. `oldest` has the age in seconds of the oldest job that waits, by level."""

    queued: int
    running: int
    paused: bool
    oldest: Mapping[int, float]


def totals(deployments: Sequence[str]) -> ScriptCall[list[Totals]]:
    """The totals of these deployments, in their order; at most BATCH of them."""

    def read(reply: Reply) -> list[Totals]:
        now, rows = items(reply)
        return [_read(items(row), number(now)) for row in items(rows)]

    return ScriptCall("totals", [len(LEVELS), *deployments[:BATCH]], read)


def _read(row: Sequence[Reply], now: int) -> Totals:
    flat, queued, running, paused, ages = row
    counts = iter(items(flat))
    oldest = {
        level: max(now - created, 0) / 1000
        for level, created in enumerate(map(number, items(ages)))
        if created
    }
    return Totals(
        {text(name): number(count) for name, count in zip(counts, counts, strict=True)},
        number(queued),
        number(running),
        number(paused) == 1,
        oldest,
    )

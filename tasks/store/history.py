"""What became of the requests of the last hour, minute by minute. The claim and every final state count here.

A wait is the time from submission to the first claim. It is counted in steps of a factor of the square root of 2.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tasks.outside_text import whole_number
from tasks.state import Status
from tasks.store.records import Reply, items, number, text
from tasks.store.verbs import ScriptCall

MINUTES = 60
STEP = 10  # minutes in one answer of the store: thousands of deployments may have been busy in each
POISON = "poison"
WAIT = "w"  # begins the name of a count of waits; see count_wait in lib.lua


@dataclass(frozen=True)
class Counts:
    """What was counted in a minute, or in several.

    `waits` is by step. `ends` is by final status; besides, `ends[POISON]` counts the failed requests that ended their replicas.
    """

    waits: Counter[int] = field(default_factory=Counter[int])
    ends: Counter[str] = field(default_factory=Counter[str])

    @classmethod
    def sum(cls, parts: Iterable["Counts"]) -> "Counts":
        """The sum of all parts."""
        total = cls()
        for part in parts:
            total.waits.update(part.waits)
            total.ends.update(part.ends)
        return total

    @property
    def claimed(self) -> int:
        """Requests that were claimed for the first time."""
        return self.waits.total()

    @property
    def ended(self) -> int:
        """Requests that came to an end that nobody asked for: cancelled ones do not count."""
        return self.ends[Status.SUCCEEDED] + self.bad

    @property
    def bad(self) -> int:
        """Requests that failed, or that waited too long for their first claim."""
        return self.ends[Status.FAILED] + self.ends[Status.EXPIRED]

    @property
    def error_share(self) -> float | None:
        """The share of ended requests that ended badly, 0 to 1. None if none ended."""
        return self.bad / self.ended if self.ended else None

    def waited(self, share: float) -> float | None:
        """The seconds that this share of the claimed requests waited at most, within 20 %. None if none was claimed."""
        rank, seen = share * self.claimed, 0
        for step in sorted(self.waits):
            seen += self.waits[step]
            if seen >= rank:
                return 2 ** (step / 2 + 0.25) / 1000  # the middle of the step
        return None


NOTHING = Counts()
Minute = Mapping[str, Counts]  # by deployment


@dataclass(frozen=True)
class Step:
    """Some minutes of the hour, oldest first, by their number from 1970 on. `now` is the number of the current one."""

    now: int
    minutes: Mapping[int, Minute]


def history(first: int = 0) -> ScriptCall[Step]:
    """At most STEP minutes of the last hour, from the minute `first` on."""

    def read(reply: Reply) -> Step:
        now, rows = items(reply)
        pairs = (items(row) for row in items(rows))
        return Step(
            number(now), {number(minute): _minute(items(counts)) for minute, counts in pairs}
        )

    return ScriptCall("history", [first, STEP, MINUTES], read)


def _minute(flat: Sequence[Reply]) -> Minute:
    found: dict[str, Counts] = defaultdict(Counts)
    for name, count in _pairs(flat):
        deployment, colon, what = name.rpartition(":")
        if not colon:
            continue  # the LONG_FIELD of lib.lua, which counts nothing
        counts = found[deployment]
        step = whole_number(what.removeprefix(WAIT)) if what.startswith(WAIT) else None
        if step is None:
            counts.ends[what] = count
        else:
            counts.waits[step] = count
    return dict(found)


def _pairs(flat: Sequence[Reply]) -> Iterator[tuple[str, int]]:
    for name, count in zip(flat[::2], flat[1::2], strict=True):
        yield text(name), number(count)

"""Queue order: level first, then fair share between API keys, then arrival.

Fair share is start-time fair queuing (Goyal, Vin and Cheng, SIGCOMM 1996) with unit costs: a job of
flow f gets the start tag S = max(V, F_f) and leaves F_f = S + 1, where V, the virtual time, is the
start tag of the job claimed last. A newcomer therefore starts at V, not behind another flow's backlog.
`tasks/store/scripts/lib.lua` does the same sums inside Redis; tests compare the two.
"""

from dataclasses import dataclass, field

# A sorted set's score is a double, exact up to 2**53: two bits of level above 51 bits of start tag.
LEVEL_STEP = 2**51


def score(level: int, start_tag: int) -> int:
    """The sorted-set score of a job; smaller is sooner. Equal scores fall back to arrival."""
    return level * LEVEL_STEP + start_tag


def member(sequence: int, request_id: str) -> str:
    """The sorted-set member: arrival in fixed width first, so that equal scores sort by arrival."""
    return f"{sequence:013d}:{request_id}"


@dataclass
class FairQueue:
    """The order of one deployment's queue, as a plain model of what the scripts do."""

    virtual_time: dict[int, int] = field(default_factory=dict[int, int])
    finish_tags: dict[tuple[int, str], int] = field(default_factory=dict[tuple[int, str], int])
    waiting: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])
    arrivals: int = 0

    def submit(self, request_id: str, level: int, flow: str) -> None:
        """Adds a job of the API key `flow`."""
        tag = max(self.virtual_time.get(level, 0), self.finish_tags.get((level, flow), 0))
        self.finish_tags[level, flow] = tag + 1
        self.arrivals += 1
        self.waiting.append((score(level, tag), self.arrivals, request_id))
        self.waiting.sort()

    def claim(self) -> str | None:
        """Takes the best job; None when nothing waits."""
        if not self.waiting:
            self.finish_tags.clear()  # a busy period ended: nobody owes anybody
            return None
        best, _, request_id = self.waiting.pop(0)
        level, tag = divmod(best, LEVEL_STEP)
        self.virtual_time[level] = max(self.virtual_time.get(level, 0), tag)
        return request_id

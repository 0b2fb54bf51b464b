"""Rates: how often an API key may call.

The generic cell rate algorithm (ITU-T I.371, virtual scheduling) keeps one number for each key and kind of call: the
theoretical arrival time, TAT, at which the calls admitted so far would have come had they been spread evenly. A call costs
T = 60 s / rate. It is admitted while max(TAT, now) + T is at most a minute ahead of now, and moves TAT there.

So an idle key may make a minute's worth of calls at once, and then one call in each T. A batch that costs more than a minute is
admitted when TAT is not ahead of now. A refused call costs nothing, and its caller learns how long to wait.

`rates.lua` does this inside Redis. `Rate` is its model; tests compare the two.
"""

import math
from dataclasses import dataclass

BURST_MS = 60_000
ROUNDING_MS = 0.001  # more than the rounding error of a Unix time in ms, kept as a double


@dataclass
class Rate:
    """The rate of one key for one kind of call."""

    per_minute: int  # calls; 0 means no limit
    arrival: float = 0.0  # the theoretical arrival time, in ms

    def admit(self, calls: int, now: int) -> int:
        """Counts that many calls at `now` (ms of the store's clock, `now_ms`) and returns 0. If they are too many, it counts none and returns the ms to wait."""
        if self.per_minute == 0:
            return 0
        cost = calls * 60_000 / self.per_minute
        arrival = max(self.arrival, now) + cost
        wait = math.ceil(arrival - now - max(BURST_MS, cost) - ROUNDING_MS)
        if wait > 0:
            return wait
        self.arrival = round(arrival, 3)  # Redis keeps it as text
        return 0

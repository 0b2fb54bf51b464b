"""Queue order: level first, then fair share between API keys, then arrival.

Fair share is start-time fair queuing (Goyal, Vin and Cheng, SIGCOMM 1996) with unit costs. A job of API key f gets the
start tag S = max(V, F_f) and leaves the finish tag F_f = S + 1. V is the virtual time: the highest start tag of a claimed
job. A newcomer therefore starts at V, not behind another key's backlog. Every level has its own V and its own tags.

A key may have a limit of jobs that run at once. A job beyond the limit is held: it leaves the queue and keeps its score. When
a job of its key ends, the first held job of the key goes back into the queue.

`order.lua` and `limits.lua` do this inside Redis. `FairQueue` is their model; tests compare the two.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

Level = Literal[0, 1, 2]  # as Baseten numbers them: 0 is the most urgent
LEVELS: tuple[int, ...] = get_args(Level)
DEFAULT_LEVEL: Level = 0

# A sorted set's score is a double, exact up to 2**53: two bits of level above 51 bits of start tag.
LEVEL_STEP = 2**51


def score(level: int, start_tag: int) -> int:
    """The sorted-set score of a job. The smallest score is next."""
    return level * LEVEL_STEP + start_tag


@dataclass(frozen=True, order=True, slots=True)
class Place:
    """The place of a job. The smallest place is next."""

    score: int
    arrival: int  # counts submissions; it decides between equal scores
    request_id: str
    api_key: str


@dataclass
class FairQueue:
    """The queue of one deployment. `limit` is how many jobs of a key may run at once; 0 means any number."""

    limit: int = 0
    virtual_time: dict[int, int] = field(default_factory=dict[int, int])  # by level
    finish_tags: dict[tuple[int, str], int] = field(
        default_factory=dict[tuple[int, str], int]
    )  # by level and key
    waiting: dict[str, Place] = field(default_factory=dict[str, Place])
    held: dict[str, Place] = field(default_factory=dict[str, Place])
    running: dict[str, Place] = field(default_factory=dict[str, Place])
    arrivals: int = 0

    def submit(self, request_id: str, level: int, api_key: str) -> None:
        """Adds a job."""
        self.arrivals += 1
        new_score = self._score_of_next(level, api_key)
        self.waiting[request_id] = Place(new_score, self.arrivals, request_id, api_key)

    def claim(self) -> str | None:
        """Takes the first job whose key may run one more. None if there is none."""
        while self.waiting:
            place = min(self.waiting.values())
            del self.waiting[place.request_id]
            if self._at_limit(place.api_key):
                self.held[place.request_id] = place
                continue
            self.running[place.request_id] = place
            level, tag = divmod(place.score, LEVEL_STEP)
            self.virtual_time[level] = max(self.virtual_time.get(level, 0), tag)
            return place.request_id
        if not self.held:
            self.finish_tags.clear()  # the queue is empty, so no key is ahead of its share any more
        return None

    def end(self, request_id: str) -> None:
        """Ends a running job. The first held job of its key goes back into the queue."""
        self._unhold_best(self.running.pop(request_id).api_key)

    def give_back(self, request_id: str) -> None:
        """Puts a running job back into its old place, for another attempt."""
        place = self.running[request_id]
        self.end(request_id)
        self.waiting[request_id] = place

    def remove(self, request_id: str) -> None:
        """Removes a waiting or held job that was cancelled or has expired.

        After a waiting job, the first held job of its key goes back into the queue if the key may run one more.
        """
        if self.held.pop(request_id, None) is None:
            self._unhold_best(self.waiting.pop(request_id).api_key)

    def move(self, request_id: str, level: int) -> None:
        """Moves a waiting or held job to another level, behind the jobs of its own key there."""
        jobs = self.held if request_id in self.held else self.waiting
        place = jobs[request_id]
        if place.score // LEVEL_STEP != level:
            new_score = self._score_of_next(level, place.api_key)
            jobs[request_id] = Place(new_score, place.arrival, request_id, place.api_key)

    def jobs_ahead(self, request_id: str) -> int:
        """The number of waiting jobs before this job. For a held job, they are those with a smaller score."""
        if request_id in self.held:
            own_score = self.held[request_id].score
            return sum(place.score < own_score for place in self.waiting.values())
        return sum(place < self.waiting[request_id] for place in self.waiting.values())

    def _score_of_next(self, level: int, api_key: str) -> int:
        tag = max(self.virtual_time.get(level, 0), self.finish_tags.get((level, api_key), 0))
        self.finish_tags[level, api_key] = tag + 1
        return score(level, tag)

    def _unhold_best(self, api_key: str) -> None:
        held = [place for place in self.held.values() if place.api_key == api_key]
        if held and not self._at_limit(api_key):
            best = min(held)
            self.waiting[best.request_id] = self.held.pop(best.request_id)

    def _at_limit(self, api_key: str) -> bool:
        count = sum(place.api_key == api_key for place in self.running.values())
        return 0 < self.limit <= count

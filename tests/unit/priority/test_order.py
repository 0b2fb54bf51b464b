"""Who is next, and when: the Lua of `priority/` on a real Valkey against the Python model beside it."""

import itertools
import json
import random
import uuid
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from priority.order import LEVEL_STEP, LEVELS, FairQueue, score
from priority.rates import BURST_MS, Rate
from priority.waiting import MOST_SAMPLED, Pace, Waiting, WaitingFor, for_a_replica, in_the_queue
from tasks.job import Claim, Outcome, RequestId, Submission
from tasks.settings import Settings
from tasks.state import Status
from tasks.store import keys, scripting, verbs
from tasks.store.job_store import JobStore
from tasks.store.verbs import Release

DEPLOYMENT = "dep00001"
API_KEYS = "abc"
SUCCESS = Outcome(Status.SUCCEEDED, 1.0, b"1", "application/json")
FENCES = itertools.count()
SAME_STORE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


class Both:
    """The store and the model, led through the same steps."""

    def __init__(self, store: JobStore, limit: int) -> None:
        store.redis.flushdb()
        for api_key in API_KEYS:
            store.redis.hset(keys.plain("running_limits"), api_key, limit)
        self.store, self.model = store, FairQueue(limit)
        self.claims: dict[str, Claim] = {}

    def step(self, action: str, choice: int, level: int, api_key: str) -> None:
        """One step; `choice` says which job it is about."""
        if action == "submit":
            self.submit([level], api_key)
        elif action == "batch":
            self.submit([level, (level + choice) % len(LEVELS), level], api_key)
        elif action == "claim":
            self.claim()
        elif action in ("finish", "retry") and self.claims:
            claim = self.claims.pop(sorted(self.claims)[choice % len(self.claims)])
            self.settle(claim, action)
        elif action in ("cancel", "move") and self.queued():
            self.change(self.queued()[choice % len(self.queued())], action, level)

    def submit(self, levels: list[int], api_key: str) -> None:
        ids = [RequestId(uuid.uuid4().hex) for _ in levels]
        jobs = [
            Submission(i, DEPLOYMENT, "m", b"{}", level=level)
            for i, level in zip(ids, levels, strict=True)
        ]
        assert self.store.run(verbs.submit(jobs, api_key, 5000)) == ids
        for request_id, level in zip(ids, levels, strict=True):
            self.model.submit(request_id, level, api_key)

    def claim(self) -> None:
        claim = self.store.run(verbs.claim(DEPLOYMENT, "r:0", f"f{next(FENCES):015d}", "r"))
        assert (claim.job.request_id if claim else None) == self.model.claim()
        if claim:
            self.claims[claim.job.request_id] = claim

    def settle(self, claim: Claim, action: str) -> None:
        if action == "finish":
            self.store.run(verbs.finish(claim.lease, SUCCESS))
            self.model.end(claim.job.request_id)
        else:
            self.store.run(verbs.release(claim.lease, Release.RETRY))
            self.model.give_back(claim.job.request_id)

    def change(self, request_id: str, action: str, level: int) -> None:
        if action == "cancel":
            self.store.run(verbs.cancel(request_id))
            self.model.remove(request_id)
        else:
            self.store.run(verbs.move(request_id, level))
            self.model.move(request_id, level)

    def queued(self) -> list[str]:
        return sorted([*self.model.waiting, *self.model.held])

    def compare(self) -> None:
        """The whole order, the held jobs, and what each owner is told."""
        for name, places in (("queue", self.model.waiting), ("held", self.model.held)):
            stored = cast("list[tuple[bytes, float]]", self.store.redis.zrange(
                keys.keyed(name, DEPLOYMENT), 0, -1, withscores=True
            ))  # fmt: skip
            found = [(member.decode()[14:], int(at)) for member, at in stored]
            assert found == [(place.request_id, place.score) for place in sorted(places.values())]
        for request_id in self.queued():
            reading = self.store.run(verbs.read(request_id))
            assert reading.jobs_ahead == self.model.jobs_ahead(request_id)
            assert (reading.hold == WaitingFor.KEY_LIMIT) == (request_id in self.model.held)


STEPS = st.tuples(
    st.sampled_from(["submit", "submit", "batch", "claim", "claim", "finish", "retry", "cancel", "move"]),
    st.integers(0, 5),
    st.sampled_from(LEVELS),
    st.sampled_from(API_KEYS),
)  # fmt: skip


@given(limit=st.integers(0, 2), steps=st.lists(STEPS, min_size=10, max_size=60))
@settings(deadline=None, max_examples=60, suppress_health_check=SAME_STORE)
def test_the_scripts_order_and_hold_jobs_as_the_model_does(
    store: JobStore, limit: int, steps: list[tuple[str, int, int, str]]
) -> None:
    both = Both(store, limit)
    for step in steps:
        both.step(*step)
    both.compare()
    for _ in range(len(both.queued()) + 1):
        both.claim()
        for claim in [both.claims.pop(request_id) for request_id in sorted(both.claims)]:
            both.settle(claim, "finish")
    assert not both.queued()
    both.compare()


def test_a_busy_period_ends_only_when_nothing_is_held(store: JobStore) -> None:
    both = Both(store, 1)
    both.submit([0, 0], "a")
    both.claim()
    both.claim()  # the second one is held
    assert store.redis.exists(keys.keyed("flows", DEPLOYMENT))
    both.settle(both.claims.popitem()[1], "finish")
    both.claim()
    both.claim()
    assert not store.redis.exists(keys.keyed("flows", DEPLOYMENT))
    both.compare()


def test_a_held_job_goes_on_where_the_one_before_it_is_cancelled(store: JobStore) -> None:
    both = Both(store, 1)
    both.submit([0, 0, 0], "a")
    both.claim()
    both.claim()  # the other two are held
    both.settle(both.claims.popitem()[1], "finish")  # the second one goes back
    both.change(min(both.model.waiting), "cancel", 0)
    both.claim()
    assert len(both.claims) == 1
    both.compare()


def test_a_level_stands_above_every_start_tag_of_the_next() -> None:
    assert score(0, LEVEL_STEP - 1) < score(1, 0)
    assert score(max(LEVELS), LEVEL_STEP - 1) < 2**53  # what a sorted set's score holds exactly


THROTTLE = """
local calls, verdicts = cjson.decode(ARGV[1]), {}
for _, call in ipairs(calls) do
  local wait = throttle('test', 'k', call[1], call[2], call[3])
  verdicts[#verdicts + 1] = {wait, redis.call('GET', K.rate('test:k')) or '0'}
end
return verdicts
"""


def verdicts(store: JobStore, calls: list[tuple[int, int, int]]) -> list[tuple[int, float]]:
    """What the Lua says of (per minute, how many, now), and the arrival time that it keeps. Keys end by the wall, which
    stands still inside a script."""
    store.redis.flushdb()
    said = store.redis.eval(scripting.order(Settings()) + THROTTLE, 0, json.dumps(calls))
    return [(wait, float(arrival)) for wait, arrival in cast("list[tuple[int, bytes]]", said)]


@pytest.mark.parametrize("per_minute", [1, 7, 60, 1000, 90_000])
def test_rates_are_the_model_s_to_the_millisecond(store: JobStore, per_minute: int) -> None:
    rng, rate, now = random.Random(per_minute), Rate(per_minute), 1_800_000_000_000
    calls: list[tuple[int, int, int]] = []
    expected: list[tuple[int, float]] = []
    wait = 0
    for _ in range(500):
        steps = [0, 0, 1, rng.randrange(200), 60_000 // per_minute, max(wait - 1, 0), wait]
        now += rng.choice(steps)
        many = rng.choice([1, 1, 1, 2, per_minute, per_minute + 1, 3 * per_minute])
        calls.append((per_minute, many, now))
        wait = rate.admit(many, now)
        expected.append((wait, rate.arrival))
    assert verdicts(store, calls) == expected
    assert {wait > 0 for wait, _ in expected} == {True, False}


@given(
    per_minute=st.integers(1, 5000), calls=st.lists(st.integers(1, 300), min_size=1, max_size=40)
)
def test_who_comes_again_as_told_is_admitted_and_not_a_millisecond_before(
    per_minute: int, calls: list[int]
) -> None:
    now, rate = 1_000_000, Rate(per_minute)
    for many in calls:
        wait = rate.admit(many, now)
        if wait:
            assert rate.admit(many, now + wait - 1) == 1
            now += wait
            assert rate.admit(many, now) == 0


def test_an_idle_key_has_a_minute_s_worth_at_once_and_then_its_share() -> None:
    rate = Rate(60)
    assert [rate.admit(1, 0) for _ in range(61)] == [0] * 60 + [1000]
    assert rate.admit(1, 1000) == 0
    assert Rate(60).admit(600, 0) == 0  # more than a minute's worth, and nothing owed
    assert Rate(0).admit(10**9, 0) == 0
    assert BURST_MS == 60_000


def test_a_large_batch_of_an_idle_key_is_admitted_whatever_its_cost_in_fractions_of_a_millisecond(
    store: JobStore,
) -> None:
    """A sum of a Unix time and 451764.7 ms is not exact: what it was too much by had the batch refused for ever."""
    for per_minute, many in itertools.product((7, 17, 290, 999), (128, 1001, 3333)):
        expected = 1_800_000_000_000 + many * 60_000 / per_minute
        ((wait, arrival),) = verdicts(store, [(per_minute, many, 1_800_000_000_000)])
        assert (wait, arrival) == (0, pytest.approx(expected, abs=0.001))


def test_no_rate_keeps_nothing(store: JobStore) -> None:
    assert verdicts(store, [(0, 10**6, 0)]) == [(0, 0.0)]


@pytest.mark.parametrize(
    ("hold", "backoff_ms", "slots", "what"),
    [
        ("paused", 5, 1, WaitingFor.PAUSED),
        ("key_limit", 5, 1, WaitingFor.KEY_LIMIT),
        ("", 5, 1, WaitingFor.RETRY),
        ("", 0, 1, WaitingFor.SLOT),
        ("", 0, 0, None),
    ],
)
def test_the_queue_says_what_a_job_waits_for(
    hold: str, backoff_ms: int, slots: int, what: WaitingFor | None
) -> None:
    stands_still = what is WaitingFor.PAUSED
    assert in_the_queue(hold, backoff_ms, slots) == Waiting(what, None, stands_still)


FAILED = Waiting(WaitingFor.LOAD_FAILED, "no weights", stands_still=True)


@pytest.mark.parametrize(
    ("states", "note", "failure", "gave_up", "waiting"),
    [
        (set(), None, "", False, Waiting(WaitingFor.REPLICA)),
        ({"loading"}, "installing", "", False, Waiting(WaitingFor.LOADING, "installing")),
        ({"loading"}, None, "no weights", False, Waiting(WaitingFor.LOADING)),
        ({"failed"}, None, "no weights", False, FAILED),
        (set(), None, "no weights", True, FAILED),
        (set(), None, "no weights", False, FAILED),  # its replica has gone
        ({"failed", "loading"}, None, "x", False, Waiting(WaitingFor.LOADING)),
    ],
)
def test_the_replicas_say_what_a_job_waits_for(
    states: set[str], note: str | None, failure: str, gave_up: bool, waiting: Waiting
) -> None:
    assert for_a_replica(states, note, failure, gave_up) == waiting


def test_the_guess_of_the_end_follows_slots_backoff_and_the_model_s_own_report() -> None:
    pace = Pace(run_times_ms=[2000.0, 1000.0, 3000.0], running_ms=[500, 1500], slots=2)
    assert pace.queued_job_seconds(jobs_ahead=0, backoff_ms=0) == 2.5
    assert pace.queued_job_seconds(jobs_ahead=3, backoff_ms=0) == 5.5
    assert pace.queued_job_seconds(jobs_ahead=0, backoff_ms=4000) == 6.0
    assert pace.running_job_seconds(500, None) == 1.5
    assert pace.running_job_seconds(5000, None) is None
    assert pace.running_job_seconds(1000, 0.25) == 3.0
    assert Pace([], [], 1).queued_job_seconds(0, 0) is None


def test_a_sample_of_many_running_jobs_stands_for_all_of_them() -> None:
    pace = Pace(run_times_ms=[2000.0], running_ms=[1000] * MOST_SAMPLED, slots=100)
    assert pace.queued_job_seconds(jobs_ahead=0, backoff_ms=0) == 3.0  # no slot is free
    assert pace.queued_job_seconds(jobs_ahead=100, backoff_ms=0) == 5.0
    few = Pace(run_times_ms=[2000.0], running_ms=[1000] * (MOST_SAMPLED - 1), slots=100)
    assert few.queued_job_seconds(jobs_ahead=0, backoff_ms=0) == 2.0

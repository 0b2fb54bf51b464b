"""The whole store against a small model of it: any order of verbs, replays included, keeps the invariants.

`make test` runs 40 x 50 steps, `make test-all` 200 x 50, and `make chaos` 5,000 x 100.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from tasks.errors import IdempotencyConflict
from tasks.job import Claim, JobError, Outcome, RequestId, Retry, Submission
from tasks.settings import Settings
from tasks.state import ALLOWED, FINAL, ErrorCode, Status
from tasks.steering import verbs as steering
from tasks.steering.filters import JobFilter
from tasks.steering.verbs import Progress
from tasks.store import keys, verbs
from tasks.store.job_store import JobStore
from tasks.store.records import unpacked
from tasks.store.scripting import GAP_MS
from tasks.store.verbs import CancelResult, PurgeResult, Release, ScriptCall, SettleResult
from tests.conftest import Clock
from tests.effort import LONG, repeated
from tests.valkey import Valkey

DEPLOYMENTS = ("dep00001", "dep00002")
LIMIT = 2  # running jobs of a key, on one deployment
ERROR = JobError(ErrorCode.MODEL_PREDICT_ERROR, "boom 'quoted' \"text\" ☃")
SERVER: list[Valkey] = []


@pytest.fixture(autouse=True)
def _server(valkey: Valkey) -> None:
    SERVER[:] = [valkey]


@dataclass
class Known:
    """What the model knows of a job."""

    status: Status = Status.QUEUED
    fence: str | None = None
    rescued: str | None = None  # the fence that may come back
    attempt: int = 0
    deaths: int = 0
    webhook: bool = False
    api_key: str = "alice"
    deployment: str = DEPLOYMENTS[0]
    purged: bool = False  # its record goes when its call has ended
    back: bool = False  # it runs on after its lease had run out, whatever took its place meanwhile


class StoreMachine(RuleBasedStateMachine):
    """Rules are the verbs; `jobs` is the model."""

    ids = Bundle("ids")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        settings = Settings(redis_url=SERVER[0].url, max_running_per_key=LIMIT)
        self.store = JobStore(settings, movable_clock=True)
        self.store.redis.flushall()
        self.clock = Clock(self.store.redis)
        self.jobs: dict[str, Known] = {}
        self.gone: set[str] = set()  # purged
        self.large: set[str] = set()
        self.bodies: dict[str, tuple[str, str]] = {}
        self.replays: list[tuple[ScriptCall[Any], bool]] = []

    def teardown(self) -> None:
        self.store.close()

    def run(self, call: ScriptCall[Any], replay: bool = True) -> Any:
        if replay:
            self.replays.append((call, True))
        return self.store.run(call)

    @rule(
        target=ids,
        deployment=st.sampled_from(DEPLOYMENTS),
        level=st.integers(0, 2),
        key=st.sampled_from(["alice", "bob"]),
        webhook=st.booleans(),
        wait=st.sampled_from([10, 600]),
        large=st.booleans(),
    )
    def submit(
        self, deployment: str, level: int, key: str, webhook: bool, wait: int, large: bool
    ) -> str:
        job = self._job(deployment, level, webhook, wait)
        if large:
            job = replace(job, input_ref=f"inputs/{job.request_id}")
            self.large.add(job.request_id)
            self.run(verbs.spill([job.input_ref], 10**9))
        assert self.run(verbs.submit([job], key, 10_000)) == [job.request_id]
        self.jobs[job.request_id] = Known(webhook=webhook, api_key=key, deployment=deployment)
        return job.request_id

    @rule(key=st.sampled_from(["k1", "k2"]), body=st.sampled_from(["b1", "b2"]))
    def submit_with_idempotency_key(self, key: str, body: str) -> None:
        job = self._job(DEPLOYMENTS[0], 0, False, 600)
        call = verbs.submit([job], "alice", 10_000, key, body, 10**9)
        if key in self.bodies and self.bodies[key][0] != body:
            with pytest.raises(IdempotencyConflict):
                self.store.run(call)
            return
        answered = self.run(call)
        expected = self.bodies.setdefault(key, (body, job.request_id))[1]
        assert answered == [expected]
        self.jobs.setdefault(expected, Known())

    @rule(target=claims, deployment=st.sampled_from(DEPLOYMENTS), hand=st.sampled_from("xy"))
    def claim(self, deployment: str, hand: str) -> Any:
        self._expire_overdue()
        fence = hand * 16 + uuid.uuid4().hex  # a hand is a worker here
        claim = self.run(verbs.claim(deployment, hand, fence, "r"), replay=False)
        self._mourn()
        if claim is None:
            return multiple()
        known = self.jobs[claim.job.request_id]
        assert known.status is Status.QUEUED
        of_this_worker = known.rescued is not None and known.rescued.startswith(hand * 16)
        assert claim.resumed == of_this_worker
        if claim.resumed:
            assert known.rescued == claim.lease.fence
        else:
            known.deaths += known.rescued is not None
            known.attempt += 1
        self._run_under(claim)
        known.back = False
        assert len(self._running(deployment, known.api_key)) <= LIMIT
        return claim

    @rule(claim=claims, good=st.booleans())
    def finish(self, claim: Claim, good: bool) -> None:
        status = Status.SUCCEEDED if good else Status.FAILED
        outcome = Outcome(status, 5.0, b"x", "text/plain", None if good else ERROR)
        word = self.run(verbs.finish(claim.lease, outcome))
        if self._holds(claim):
            assert word is SettleResult.DONE
            self._move(claim.job.request_id, status)
        else:
            assert word in (
                SettleResult.STALE_FENCE,
                SettleResult.ALREADY_DONE,
                SettleResult.MISSING,
            )

    @rule(claim=claims, reason=st.sampled_from(list(Release)), delay=st.sampled_from([0, 3000]))
    def release(self, claim: Claim, reason: Release, delay: int) -> None:
        word = self.run(verbs.release(claim.lease, reason, delay, ERROR))
        if not self._holds(claim):
            assert word in (
                SettleResult.STALE_FENCE,
                SettleResult.ALREADY_DONE,
                SettleResult.MISSING,
            )
            return
        known = self.jobs[claim.job.request_id]
        match reason:
            case Release.DEATH:
                known.deaths += 1
            case Release.RETRY:
                known.deaths = 0
            case Release.DRAIN:
                known.attempt -= 1
            case Release.SICK:
                known.deaths += 1
                known.attempt -= known.deaths < 3
        poison = reason in (Release.DEATH, Release.SICK) and known.deaths == 3
        assert word is (SettleResult.POISON if poison else SettleResult.DONE)
        self._move(claim.job.request_id, Status.FAILED if poison else Status.QUEUED)

    @rule(claim=claims)
    def renew_and_report(self, claim: Claim) -> None:
        (word,) = self.run(verbs.renew([claim.lease]))
        held = self._holds(claim)
        assert (word is verbs.Renewal.RENEWED) == held
        reported = self.run(verbs.progress(claim.lease, 0.5, "half"))
        assert (reported is SettleResult.DONE) == held

    @rule(claim=consumes(claims))
    def stopped(self, claim: Claim) -> None:
        self.run(verbs.stopped(claim.lease, "cooperative"))

    @rule(request_id=ids)
    def cancel(self, request_id: str) -> None:
        if request_id in self.gone:
            assert self.run(verbs.cancel(request_id))[0] is CancelResult.MISSING
            return
        known = self.jobs[request_id]
        word, _ = self.run(verbs.cancel(request_id))
        if known.status in FINAL:
            assert word in (CancelResult.ALREADY_CANCELED, CancelResult.ALREADY_FINAL)
            return
        running = known.status is Status.IN_PROGRESS
        assert word is (CancelResult.STOPPING if running else CancelResult.CANCELED)
        self._move(request_id, Status.CANCELED)

    @rule(request_id=consumes(ids))
    def purge(self, request_id: str) -> None:
        word = self.store.run(verbs.purge(request_id))
        if request_id in self.gone:
            assert word is PurgeResult.MISSING
            return
        known = self.jobs[request_id]
        if known.status not in FINAL:
            self._move(request_id, Status.CANCELED)
        known.purged, known.webhook = True, False
        self._notice_purged()
        assert (word is PurgeResult.PURGED) == (request_id in self.gone)

    @rule(deployment=st.sampled_from(DEPLOYMENTS), key=st.sampled_from(["", "alice"]))
    def cancel_all(self, deployment: str, key: str) -> None:
        statuses = (Status.QUEUED, Status.IN_PROGRESS)
        matching = self._matching(deployment, key, statuses)
        self._operate(steering.cancel_many, JobFilter(key, "", (deployment,), statuses), matching)
        for request_id in matching:
            self._move(request_id, Status.CANCELED)

    @rule(there=st.booleans(), level=st.sampled_from([None, 0, 2]))
    def move_all(self, there: bool, level: int | None) -> None:
        deployment, to = DEPLOYMENTS if there else DEPLOYMENTS[::-1]
        matching = self._matching(deployment, "", (Status.QUEUED,))
        wanted = JobFilter(deployments=(deployment,), statuses=(Status.QUEUED,))
        self._operate(
            lambda name, wanted: steering.move_many(name, wanted, level, to, 10**6),
            wanted,
            matching,
        )
        for request_id in matching:
            self.jobs[request_id].deployment = to

    @rule(request_id=ids, level=st.integers(0, 2))
    def reprioritize(self, request_id: str, level: int) -> None:
        word = self.run(verbs.move(request_id, level))
        if request_id in self.gone:
            assert word is verbs.MoveResult.MISSING
            return
        queued = self.jobs[request_id].status is Status.QUEUED
        assert (word is verbs.MoveResult.NOT_QUEUED) == (not queued)

    @rule(seconds=st.sampled_from([1, 4, 11, 16]))
    def advance(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(hours=st.sampled_from([-24, -1, 1, 24]))
    def jump(self, hours: int) -> None:
        """Nothing becomes due by it: beyond the gap that the clock counts, which is taken back here."""
        self.sweep()
        self.clock.jump(hours * 3600)
        self.clock.advance(-GAP_MS / 1000 if hours > 0 else 0)
        before = self._statuses()
        assert self.store.run(verbs.rescue(100)) == ([], [])
        assert self.store.run(verbs.expire(100)) == 0
        assert self._statuses() == before

    @rule()
    def sweep(self) -> None:
        self.run(verbs.rescue(100))
        self.run(verbs.expire(100))
        self.run(verbs.end_backoffs(100))
        self.run(verbs.rewake(0, 100))
        self.run(verbs.forget(100))
        self.store.run(verbs.collect(1, ["inputs/of-nobody"]))
        self._notice_purged()
        self._learn({Status.QUEUED, Status.EXPIRED})

    @rule(data=st.data())
    def replay_an_earlier_call(self, data: st.DataObject) -> None:
        """The client library sends again what it has no reply for: nothing may happen twice."""
        harmless = [
            call
            for call, _ in self.replays
            if call.script in ("finish", "release", "submit")
            and self.gone.isdisjoint(word for word in call.arguments if isinstance(word, str))
        ]
        if harmless:
            before = self._statuses()
            call = data.draw(st.sampled_from(harmless[-20:]))
            self.store.run(call)
            assert self._statuses() == before

    @invariant()
    def every_job_is_in_exactly_one_place(self) -> None:
        records, places = self._snapshot()
        assert places.pop("all_jobs") == places.pop("jobs") == set(self.jobs)
        final_ids = {request_id for request_id, known in self.jobs.items() if known.status in FINAL}
        assert places["ended"] - final_ids == set()
        garbage = {
            raw_id.decode() for raw_id in self.store.redis.zrange(keys.plain("garbage"), 0, -1)
        }  # type: ignore[union-attr]
        for request_id, known in self.jobs.items():
            record, final = records[request_id], known.status in FINAL
            assert record["status"] == known.status
            assert (int(record["attempt"]), int(record.get("deaths", 0))) == (
                known.attempt,
                known.deaths,
            )
            assert ("finished" in record) == final
            assert ("ended" in record) == (final and "stopping" not in record)
            large = f"inputs/{request_id}"
            if request_id in self.large:
                assert ("input_ref" in record, large in garbage) == (True, False)
            else:
                assert record["input"] == "{}"
            where = {name for name, members in places.items() if request_id in members}
            if known.status is Status.QUEUED:
                assert len(where & {"queue", "delayed", "held"}) == 1
                assert not where & {"leases", "running", "ended", "forget", "outbox"}
            elif known.status is Status.IN_PROGRESS:
                assert where == {"leases", "running"}
            else:
                assert where & {"ended", "forget"}
                assert ("outbox" in where) == known.webhook
                assert ({"leases", "running"} <= where) == ("stopping" in record)
                assert not where & {"queue", "delayed", "held", "expiry"}

    @invariant()
    def the_counts_of_every_key_are_those_of_its_jobs(self) -> None:
        for api_key in ("alice", "bob"):
            pipe = self.store.redis.pipeline()
            pipe.hget(keys.plain("unfinished"), api_key)
            for deployment in DEPLOYMENTS:
                pipe.smembers(keys.keyed("running", deployment))
                pipe.hget(keys.keyed("busy", deployment), api_key)
                pipe.zcard(keys.keyed("held_by", f"{deployment}:{api_key}"))
                pipe.zrange(keys.keyed("queue", deployment), 0, -1)
            said, *replies = pipe.execute()
            own = {
                request_id for request_id, known in self.jobs.items() if known.api_key == api_key
            }
            unfinished = [
                request_id for request_id in own if self.jobs[request_id].status not in FINAL
            ]
            assert int(said or 0) == len(unfinished)
            for running, busy, held, queue in (replies[:4], replies[4:]):
                mine = own & {raw_id.decode() for raw_id in running}
                assert int(busy or 0) == len(mine)
                assert len(mine) <= LIMIT + sum(self.jobs[request_id].back for request_id in mine)
                # Each freed slot lets one held job go on: into the queue, where the next claim finds it.
                claimable = own & {raw_id.decode()[14:] for raw_id in queue}
                assert not held or len(mine) + len(claimable) >= LIMIT

    @invariant()
    def no_backoff_ends_unseen(self) -> None:
        for deployment in DEPLOYMENTS:
            first: Any = self.store.redis.zrange(
                keys.keyed("delayed", deployment), 0, 0, withscores=True
            )
            if first:
                noted: Any = self.store.redis.zscore(keys.plain("retries"), deployment)
                assert noted is not None and noted <= first[0][1]

    @invariant()
    def no_unknown_key(self) -> None:
        names = {*keys.PLAIN, *keys.KEYED, "clock-offset"}
        for key in self.store.redis.scan_iter():
            name = key.decode()
            if not name.startswith("kingpost."):
                assert name.removeprefix(keys.TAG + ":").split(":")[0] in names

    def _job(self, deployment: str, level: int, webhook: bool, wait: int) -> Submission:
        return Submission(
            RequestId(uuid.uuid4().hex), deployment, "m", b"{}", level, wait * 1000,
            Retry(), "https://example.com/h" if webhook else "",
        )  # fmt: skip

    def _matching(self, deployment: str, key: str, statuses: tuple[Status, ...]) -> list[str]:
        return [
            request_id
            for request_id, known in self.jobs.items()
            if known.deployment == deployment
            and known.status in statuses
            and key in ("", known.api_key)
        ]

    def _operate(
        self,
        step: Callable[[str, JobFilter], ScriptCall[Progress]],
        wanted: JobFilter,
        matching: list[str],
    ) -> None:
        """Leads a bulk operation to its end; everything that matches is done, once."""
        name, progress = uuid.uuid4().hex, None
        assert self.store.run(steering.open_operation(name, "digest", 10**6))
        while progress is None or not progress.ended:
            progress = self.store.run(step(name, wanted))
        assert (progress.matched, progress.done) == (len(matching), len(matching))
        assert self.store.run(step(name, wanted)) == progress

    def _notice_purged(self) -> None:
        """Those whose call has ended are gone with the next sweep."""
        for request_id, known in list(self.jobs.items()):
            if known.purged and self._field(request_id, "status") is None:
                del self.jobs[request_id]
                self.gone.add(request_id)

    def _holds(self, claim: Claim) -> bool:
        """Whether its lease counts; one that ran out counts again if nobody else has claimed the job."""
        if claim.job.request_id in self.gone:
            return False
        known = self.jobs[claim.job.request_id]
        if known.status is Status.QUEUED and known.rescued == claim.lease.fence:
            self._run_under(claim)
            known.back = True
        return known.status is Status.IN_PROGRESS and known.fence == claim.lease.fence

    def _run_under(self, claim: Claim) -> None:
        known = self.jobs[claim.job.request_id]
        self._move(claim.job.request_id, Status.IN_PROGRESS)
        known.fence, known.rescued = claim.lease.fence, None

    def _running(self, deployment: str, api_key: str) -> set[str]:
        """Ids of the key's jobs that have a slot, the cancelled ones whose call goes on included."""
        running = self.store.redis.smembers(keys.keyed("running", deployment))
        ids = {raw_id.decode() for raw_id in running}  # type: ignore[union-attr]
        return {request_id for request_id in ids if self.jobs[request_id].api_key == api_key}

    def _mourn(self) -> None:
        """A claim that is not its worker's ends a rescued job that had two deaths before."""
        for request_id, status in self._statuses().items():
            known = self.jobs[request_id]
            if status == Status.FAILED and known.status is Status.QUEUED:
                assert known.rescued is not None
                known.deaths += 1
                assert known.deaths == 3
                known.status = Status.FAILED

    def _move(self, request_id: str, to: Status) -> None:
        known = self.jobs[request_id]
        assert to in ALLOWED[known.status]
        known.status = to

    def _statuses(self) -> dict[str, str | None]:
        return {request_id: self._field(request_id, "status") for request_id in self.jobs}

    def _field(self, request_id: str, name: str) -> str | None:
        value = self.store.redis.hget(keys.keyed("job", request_id), name)
        return value.decode() if isinstance(value, bytes) else None

    def _expire_overdue(self) -> None:
        self.store.run(verbs.expire(100))
        self._learn({Status.EXPIRED})

    def _learn(self, allowed: set[Status]) -> None:
        for request_id, status in self._statuses().items():
            known = self.jobs[request_id]
            if status != known.status:
                assert status in allowed
                if known.status is Status.IN_PROGRESS:
                    known.rescued = known.fence
                self._move(request_id, Status(status))

    def _snapshot(self) -> tuple[dict[str, dict[str, str]], dict[str, set[str]]]:
        """All records, and who is in which index."""
        pipe, ids = self.store.redis.pipeline(), list(self.jobs)
        for request_id in ids:
            pipe.hgetall(keys.keyed("job", request_id))
        for deployment in DEPLOYMENTS:
            pipe.zrange(keys.keyed("queue", deployment), 0, -1)
            pipe.zrange(keys.keyed("delayed", deployment), 0, -1)
            pipe.zrange(keys.keyed("held", deployment), 0, -1)
            pipe.smembers(keys.keyed("running", deployment))
        for name in ("leases", "forget", "outbox", "expiry", "all_jobs"):
            pipe.zrange(keys.plain(name), 0, -1)
        for api_key in ("alice", "bob"):
            pipe.zrange(keys.keyed("jobs", api_key), 0, -1)
        replies = iter(pipe.execute())
        raw = {request_id: next(replies) for request_id in ids}
        records = {
            request_id: {name.decode(): value.decode() for name, value in fields.items()}
            for request_id, fields in raw.items()
        }
        for record in records.values():
            record |= unpacked(record["ended"]) if "ended" in record else {}
        places: dict[str, set[str]] = {
            name: set() for name in ("queue", "delayed", "held", "running")
        }
        for _ in DEPLOYMENTS:
            places["queue"] |= {member.decode()[14:] for member in next(replies)}
            places["delayed"] |= {member.decode()[14:] for member in next(replies)}
            places["held"] |= {member.decode()[14:] for member in next(replies)}
            places["running"] |= {member.decode() for member in next(replies)}
        for name in ("leases", "forget", "outbox", "expiry"):
            places[name] = {member.decode() for member in next(replies)}
        places["all_jobs"] = {member.decode()[14:] for member in next(replies)}
        places["jobs"] = {member.decode()[14:] for members in replies for member in members}
        return records, places | {"ended": self._ended()}

    def _ended(self) -> set[str]:
        """Who is in the sets of jobs that wait to be forgotten. The index has each set, and none that is empty."""
        found: set[str] = set()
        sets = dict(self.store.redis.zrange(keys.plain("ended_buckets"), 0, -1, withscores=True))  # type: ignore[call-overload]
        names = self.store.redis.scan_iter(keys.keyed("ended", "*"))
        assert {name.rpartition(b":")[2] for name in names} == set(sets)
        for number, first in sets.items():
            members = dict(
                self.store.redis.zrange(
                    keys.keyed("ended", number.decode()), 0, -1, withscores=True
                )  # type: ignore[call-overload]
            )
            assert first <= min(members.values())
            found |= {request_id.decode() for request_id in members}
        return found


FOR_LONG = settings.get_current_profile_name() == LONG
StoreMachine.TestCase.settings = settings(
    max_examples=5000 if FOR_LONG else repeated(40, 200),
    stateful_step_count=100 if FOR_LONG else 50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestStoreMachine = StoreMachine.TestCase

"""C14, C18 and C19: races of two verbs for one job, thousands of times, and a store that is full."""

import itertools
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import StoreUnavailable
from tasks.job import Lease, Outcome, RequestId, Submission
from tasks.settings import Settings
from tasks.state import FINAL, Status
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tasks.store.verbs import CancelResult, ScriptCall, SettleResult
from tests.conftest import Clock
from tests.effort import repeated
from tests.told import Told
from tests.valkey import Valkey

PAIRS = repeated(1000, 5000)
BATCH = 250
DONE = Outcome(Status.SUCCEEDED, 1.0, b"1", "application/json")
HOOK = "https://example.com/hook"


@pytest.fixture
def rivals(settings: Settings) -> Iterator[Callable[..., list[tuple[Any, Any]]]]:
    """Runs two calls for each pair at once, each on a connection of its own."""
    stores = [JobStore(settings, movable_clock=True) for _ in range(2)]
    with ThreadPoolExecutor(8) as pool:

        def race(pairs: list[tuple[ScriptCall[Any], ScriptCall[Any]]]) -> list[tuple[Any, Any]]:
            running = [
                (pool.submit(stores[i % 2].run, first), pool.submit(stores[1 - i % 2].run, other))
                if i % 2
                else (pool.submit(stores[1].run, first), pool.submit(stores[0].run, other))
                for i, (first, other) in enumerate(pairs)
            ]
            return [(first.result(), other.result()) for first, other in running]

        yield race
    for store in stores:
        store.close()


def queued(store: JobStore, deployment: str, seconds: int = 600) -> RequestId:
    request_id = RequestId(uuid.uuid4().hex)
    job = Submission(
        request_id, deployment, "m", b"{}", max_time_in_queue_ms=seconds * 1000, webhook=HOOK
    )
    store.run(verbs.submit([job], "k", 10**6))
    return request_id


@pytest.fixture
def told(settings: Settings) -> Iterator[Told]:
    with Told(settings.redis_url) as told:
        yield told


def agreed(store: JobStore, told: Told, request_id: str) -> Status:
    """The status, when the record, the webhook's row and what was told agree on it."""
    job = store.run(verbs.read(request_id)).job
    in_outbox = store.redis.zscore("{kingpost}:outbox", request_id) is not None
    assert in_outbox == (job.status in FINAL)
    finals = [word for word in told.all()[request_id] if word in FINAL]
    assert finals == ([job.status] if job.status in FINAL else [])
    return job.status


def test_c18_cancel_against_claim_has_one_winner(
    store: JobStore, told: Told, rivals: Callable[..., Any]
) -> None:
    won: Counter[str] = Counter()
    for batch in range(PAIRS // BATCH):
        names = [f"d{batch}-{i}" for i in range(BATCH)]
        ids = [queued(store, name) for name in names]
        calls = [
            (verbs.cancel(request_id), verbs.claim(name, "w", uuid.uuid4().hex[:16], "r"))
            for request_id, name in zip(ids, names, strict=True)
        ]
        for request_id, ((word, _), claim) in zip(ids, rivals(calls), strict=True):
            assert (
                agreed(store, told, request_id) is Status.CANCELED
            )  # either way: running jobs are cancelled too
            assert word is (CancelResult.STOPPING if claim else CancelResult.CANCELED)
            if claim:
                assert store.run(verbs.finish(claim.lease, DONE)) is SettleResult.STALE_FENCE
            won["claim first" if claim else "cancel first"] += 1
    print(dict(won))
    assert won.total() == PAIRS


def test_c18_cancel_against_finish_has_one_winner(
    store: JobStore, told: Told, rivals: Callable[..., Any]
) -> None:
    won: Counter[str] = Counter()
    for _ in range(PAIRS // BATCH):
        ids = [queued(store, "d") for _ in range(BATCH)]
        leases: list[Lease] = []
        for _ in ids:
            claim = store.run(verbs.claim("d", "w", uuid.uuid4().hex[:16], "r"))
            assert claim is not None
            leases.append(claim.lease)
        calls = [(verbs.cancel(lease.request_id), verbs.finish(lease, DONE)) for lease in leases]
        for lease, ((word, _), finished) in zip(leases, rivals(calls), strict=True):
            canceled = agreed(store, told, lease.request_id) is Status.CANCELED
            assert word is (CancelResult.STOPPING if canceled else CancelResult.ALREADY_FINAL)
            assert finished is (SettleResult.STALE_FENCE if canceled else SettleResult.DONE)
            won["cancel" if canceled else "finish"] += 1
    print(dict(won))
    assert won.total() == PAIRS


def test_c19_expiry_against_claim_has_one_winner(
    store: JobStore, told: Told, rivals: Callable[..., Any], clock: Clock
) -> None:
    names = itertools.count()
    won: Counter[str] = Counter()
    for _ in range(PAIRS // BATCH):
        deployments = [f"e{next(names)}" for _ in range(BATCH)]
        ids = [queued(store, name, seconds=10) for name in deployments]
        early = deployments[::2]
        claims = {
            name: store.run(verbs.claim(name, "w", uuid.uuid4().hex[:16], "r")) for name in early
        }
        clock.advance(11)
        late = deployments[1::2]
        calls = [
            (verbs.expire(1), verbs.claim(name, "w", uuid.uuid4().hex[:16], "r")) for name in late
        ]
        for name, (_, claim) in zip(late, rivals(calls), strict=True):
            claims[name] = claim
        for request_id, name in zip(ids, deployments, strict=True):
            status = agreed(store, told, request_id)
            assert status is (Status.IN_PROGRESS if claims[name] else Status.EXPIRED)
            won[status] += 1
    assert won.total() == PAIRS


def test_c14_a_full_store_refuses_new_jobs_and_lets_running_ones_finish(tmp_path: Path) -> None:
    server = Valkey(tmp_path, fsync="everysec").start()
    store = JobStore(Settings(redis_url=server.url))
    try:
        first = queued(store, "d")
        claim = store.run(verbs.claim("d", "w", "0123456789abcdef", "r"))
        assert claim is not None
        store.redis.config_set("maxmemory", 1_000_000)  # less than an empty server needs
        with pytest.raises(StoreUnavailable):
            queued(store, "d")
        assert store.run(verbs.renew([claim.lease])) == [verbs.Renewal.RENEWED]
        assert store.run(verbs.finish(claim.lease, DONE)) is SettleResult.DONE
        store.redis.config_set("maxmemory", 0)
        assert store.run(verbs.read(first)).job.status is Status.SUCCEEDED
        queued(store, "d")
    finally:
        store.close()
        server.stop()

"""How soon work goes on after a death: `python -m bench.extra.recovery`, about three minutes, prints p50, p99 and the worst.

Times are differences of Redis' own clock as the job's record has them, or of this process's monotonic clock.
"""

import json
import os
import signal
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import redis

from deployments.registry import verbs as registry
from tasks.errors import StoreUnavailable
from tasks.job import RequestId, Submission
from tasks.settings import Settings
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tasks.store.story import changes
from tests.chaos.stack import Stack
from tests.conditions import wait_until

T = TypeVar("T")
ROUNDS = {"worker": 4, "host": 15, "valkey": 8}
RUNNING = 6  # jobs under each killed worker or host at most: 3 replicas x 2 slots


def submit(stack: Stack, store: JobStore, ms: int) -> RequestId:
    """Queues a job that runs so long."""
    deployment = JobStore(stack.settings).run(registry.deployments())[0]
    body = json.dumps({"n": 1, "ms": ms}).encode()
    request_id = RequestId(uuid.uuid4().hex)
    job = Submission(request_id, deployment.id, deployment.model_id, body)
    store.run(verbs.submit([job], "bench", 10_000))
    return request_id


def claims(store: JobStore, request_id: str) -> list[tuple[str, int]]:
    """(status, ms of Redis' clock) of each transition so far."""
    changed = changes(store.run(verbs.read(request_id)).job)[1:]
    return [(change.status, change.at) for change in changed]


def redis_ms(stack: Stack) -> float:
    """Redis' clock now."""
    with redis.Redis.from_url(stack.valkey.url) as client:
        seconds, micros = client.time()
    return seconds * 1000 + micros / 1000


def after_worker_death(stack: Stack, store: JobStore) -> list[float]:
    """Seconds from the SIGKILL of a worker to the next claim of each of its jobs."""
    ids = [submit(stack, store, 60_000) for _ in range(RUNNING)]
    wait_until(lambda: all(len(claims(store, request_id)) >= 1 for request_id in ids), 30)
    held = {request_id: store.run(verbs.read(request_id)).job.replica for request_id in ids}
    victim = next(
        replica
        for replica in JobStore(stack.settings).run(registry.replicas())
        if replica.id in held.values()
    )
    killed = redis_ms(stack)
    os.kill(victim.pid, signal.SIGKILL)
    mine = [request_id for request_id in ids if held[request_id] == victim.id]
    wait_until(lambda: all(len(claims(store, request_id)) >= 3 for request_id in mine), 60)
    took = [(claims(store, request_id)[2][1] - killed) / 1000 for request_id in mine]
    for request_id in ids:
        store.run(verbs.cancel(request_id))
    deployment = JobStore(stack.settings).run(registry.deployments())[0].id
    wait_until(lambda: not store.run(verbs.queue_status(deployment)).in_progress, 60)
    return took


def after_host_death(stack: Stack, store: JobStore) -> list[tuple[float, float]]:
    """Seconds from the SIGKILL of a host to the release of its job, and to a host that is ready again."""
    request_id = submit(stack, store, 60_000)
    wait_until(lambda: len(claims(store, request_id)) >= 1, 30)
    replica_id = store.run(verbs.read(request_id)).job.replica
    store = JobStore(stack.settings)
    victim = next(replica for replica in store.run(registry.replicas()) if replica.id == replica_id)
    assert victim.host_pid
    killed, began = redis_ms(stack), time.monotonic()
    os.kill(victim.host_pid, signal.SIGKILL)

    def again() -> bool:
        now = [replica for replica in store.run(registry.replicas()) if replica.id == replica_id]
        return (
            bool(now) and now[0].state == "ready" and now[0].host_pid not in (None, victim.host_pid)
        )

    wait_until(again, 30)
    ready = time.monotonic() - began
    wait_until(lambda: len(claims(store, request_id)) >= 2, 30)
    released = (claims(store, request_id)[1][1] - killed) / 1000
    store.run(verbs.cancel(request_id))
    deployment = JobStore(stack.settings).run(registry.deployments())[0].id
    wait_until(lambda: not store.run(verbs.queue_status(deployment)).in_progress, 60)
    return [(released, ready)]


def after_valkey_death(stack: Stack, store: JobStore) -> list[float]:
    """Seconds from the moment Valkey answers again to the end of a job submitted then."""
    stack.valkey.kill()
    stack.valkey.start()
    began = time.monotonic()

    def submitted() -> RequestId | None:
        try:
            return submit(stack, store, 1)
        except StoreUnavailable:
            return None

    ids: list[RequestId] = []
    wait_until(lambda: ids.append(found) or True if (found := submitted()) else False, 30)
    wait_until(lambda: store.run(verbs.read(ids[0])).job.status == "SUCCEEDED", 60)
    return [time.monotonic() - began]


def line(name: str, seconds: list[float]) -> str:
    """One row of the table."""
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"{name:<44} {len(ordered):>3} {statistics.median(ordered):>8.2f} {p99:>8.2f} {ordered[-1]:>8.2f}"


def repeat(
    times: int, measure: Callable[[Stack, JobStore], list[T]], stack: Stack, store: JobStore
) -> list[T]:
    """All samples of so many rounds."""
    return [sample for _ in range(times) for sample in measure(stack, store)]


def main() -> None:
    """Measures everything on one stack."""
    with tempfile.TemporaryDirectory(prefix="kingpost-bench-") as folder:
        stack = Stack(Path(folder)).start()
        store = JobStore(Settings(redis_url=stack.valkey.url))
        try:
            hosts = repeat(ROUNDS["host"], after_host_death, stack, store)
            valkeys = repeat(ROUNDS["valkey"], after_valkey_death, stack, store)
            workers = repeat(ROUNDS["worker"], after_worker_death, stack, store)
        finally:
            stack.stop()
    print(f"{'seconds':<44} {'n':>3} {'p50':>8} {'p99':>8} {'worst':>8}")
    print(line("worker killed -> its job claimed again", workers))
    print(line("host killed -> its job released", [seconds for seconds, _ in hosts]))
    print(line("host killed -> a host ready again", [seconds for _, seconds in hosts]))
    print(line("Valkey answers again -> a new job is done", valkeys))


if __name__ == "__main__":
    main()

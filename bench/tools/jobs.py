"""Jobs for the benches, straight into the store: what is measured is what comes after."""

import time
import uuid
from collections.abc import Callable

from deployments.registry.records import Deployment
from tasks.job import RequestId, Submission
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tests.conditions import lasts

BATCH = 200
LOOK_SECONDS = 0.05


def queue(
    store: JobStore, deployment: Deployment, count: int, body: bytes = b"{}", webhook: str = ""
) -> list[RequestId]:
    """Queues so many jobs; their ids in order."""
    ids: list[RequestId] = []
    while len(ids) < count:
        batch = [
            Submission(
                RequestId(uuid.uuid4().hex),
                deployment.id,
                deployment.model_id,
                body,
                max_time_in_queue_ms=3_600_000,
                webhook=webhook,
            )
            for _ in range(min(BATCH, count - len(ids)))
        ]
        store.run(verbs.submit(batch, "benches1", 10_000_000))
        ids += [request.request_id for request in batch]
    return ids


def left(store: JobStore, deployment: Deployment) -> int:
    """How many jobs are queued or running."""
    status = store.run(verbs.queue_status(deployment.id))
    return status.queued + status.in_progress


def drain_rate(left_now: Callable[[], int], count: int, limit_seconds: float) -> float:
    """Jobs a second, from a tenth done to all done: the start of a worker is not what is measured."""
    began, began_at, ends = 0.0, count, time.monotonic() + limit_seconds
    while True:
        now, still = time.monotonic(), left_now()
        if not began and still <= count * 0.9:
            began, began_at = now, still
        if still == 0:
            return began_at / (now - began)
        if now > ends:
            raise RuntimeError(f"{still} of {count} jobs are left after {limit_seconds:g} s")
        lasts(LOOK_SECONDS)

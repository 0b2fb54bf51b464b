"""A wake-up that a script pushes is the message that Celery itself would have sent, field by field."""

import base64
import json
from typing import Any

from tasks.celery_app import make_app
from tasks.job import RequestId, Submission
from tasks.settings import Settings
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tasks.store.keys import wakeup_queue
from tasks.wakeups import TASK_NAME

QUEUE = wakeup_queue("dep00001")
PER_MESSAGE = {"id", "root_id", "correlation_id", "delivery_tag", "origin", "reply_to"}


def popped(store: JobStore) -> dict[str, Any]:
    raw = store.redis.rpop(QUEUE)
    assert isinstance(raw, bytes)
    return json.loads(raw)


def without(fields: dict[str, Any]) -> dict[str, Any]:
    """What two messages must share."""
    return {
        name: without(value) if isinstance(value, dict) else value
        for name, value in fields.items()
        if name not in PER_MESSAGE
    }


def test_the_script_and_the_library_push_the_same_message(
    settings: Settings, store: JobStore
) -> None:
    job = Submission(RequestId("0" * 32), "dep00001", "model001", b"{}")
    store.run(verbs.submit([job], "alice", 10))
    ours = popped(store)
    make_app(settings).send_task(TASK_NAME, queue=QUEUE)
    theirs = popped(store)
    assert without(ours) == without(theirs)
    assert set(ours["headers"]) == set(theirs["headers"])
    assert json.loads(base64.b64decode(ours["body"])) == json.loads(
        base64.b64decode(theirs["body"])
    )


def test_no_two_wakeups_have_the_same_id(store: JobStore) -> None:
    jobs = [Submission(RequestId(f"{n:032x}"), "dep00001", "model001", b"{}") for n in range(5)]
    store.run(verbs.submit(jobs, "alice", 10))
    sent = [popped(store) for _ in jobs]
    for field in ("delivery_tag", "correlation_id"):
        assert len({message["properties"][field] for message in sent}) == 5
    assert all(
        message["headers"]["id"] == message["properties"]["correlation_id"] for message in sent
    )

"""Events for Flower: many in one message, each with the time at which it happened, none lost in an outage."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from tasks.celery_app import make_app
from tasks.job import Job, RequestId, Retry
from tasks.settings import Settings
from tasks.state import Status
from tests.conditions import wait_until
from workers.replica import events as request_events
from workers.replica.events import RequestEvents

MANY = 200


def job(number: int) -> Job:
    name, retry = RequestId(f"{number:032x}"), Retry(1, 0, 0)
    return Job(name, Status.IN_PROGRESS, "dep00001", "model001", "alice", 0, 1, retry, 0, 0)


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(settings.redis_url) as made:
        yield made


@pytest.fixture
def messages(client: redis.Redis) -> Iterator[Any]:
    """What every listener of Celery's events gets, each message as a list of events."""
    with client.pubsub() as listening:
        listening.psubscribe("/0.celeryev*")
        listening.get_message(timeout=5)

        def arrived() -> list[dict[str, Any]] | None:
            said = listening.get_message(ignore_subscribe_messages=True, timeout=0.05)
            return json.loads(base64.b64decode(json.loads(said["data"])["body"])) if said else None

        yield arrived


@pytest.fixture
def events(settings: Settings) -> Iterator[RequestEvents]:
    sender = RequestEvents(make_app(settings), "echo-1@here", {"d": "echo"})
    yield sender
    sender.stop()


def gathered(messages: Any, count: int) -> list[list[dict[str, Any]]]:
    found: list[list[dict[str, Any]]] = []

    def enough() -> bool:
        if message := messages():
            found.append(message)
        return sum(map(len, found)) >= count

    wait_until(enough, 10)
    return found


def test_events_of_a_moment_are_one_message(events: RequestEvents, messages: Any) -> None:
    for number in range(MANY):
        events.started(job(number))
        events.succeeded(job(number), 0.01)
    events.start()
    [message] = gathered(messages, 3 * MANY)
    kinds = ["task-received", "task-started", "task-succeeded"]
    assert [event["type"] for event in message] == kinds * MANY
    assert [event["uuid"] for event in message[::3]] == [job(n).request_id for n in range(MANY)]
    assert message[0]["timestamp"] < message[-1]["timestamp"]  # of the event, not of the message
    assert {event["hostname"] for event in message} == {"echo-1@here"}


def test_events_wait_for_a_broker_that_refuses_them(
    events: RequestEvents, messages: Any, client: redis.Redis
) -> None:
    client.execute_command("ACL", "SETUSER", "default", "-publish")
    try:
        with capture_logs() as logged:
            events.start()
            events.started(job(1))
            wait_until(lambda: any(entry["event"] == "events.delayed" for entry in logged))
            events.succeeded(job(1), 0.01)
    finally:
        client.execute_command("ACL", "SETUSER", "default", "+publish")
    types = [event["type"] for message in gathered(messages, 3) for event in message]
    assert types == ["task-received", "task-started", "task-succeeded"]


def test_what_is_dropped_is_counted(
    events: RequestEvents, messages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_events, "HELD", 5)
    for number in range(4):
        events.started(job(number))
    with capture_logs() as logged:
        events.start()
        assert len(gathered(messages, 5)) == 1
    assert [entry["count"] for entry in logged if entry["event"] == "events.dropped"] == [3]

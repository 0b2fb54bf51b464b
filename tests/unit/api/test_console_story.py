"""What the console tells of a request and of a model, from what the store knows."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from api.console.overview import DeploymentRow, ModelRow
from api.console.story import story
from api.schemas import AsyncError, RequestStatus, time_of
from deployments.registry.records import Deployment, Model
from deployments.registry.statuses import DeploymentStatus
from tasks.job import Job, QueueStatus
from tasks.state import Status


def told(
    story_words: str = "",
    codes: tuple[str, ...] = (),
    load: dict[str, int] | None = None,
    **more: Any,
) -> list[tuple[str, int | None, str]]:
    """What happened, at which second, and why."""
    known = {
        "status": Status.FAILED,
        "attempt": 1,
        "created": 0,
        "started": 1000,
        "finished": 9000,
    } | more
    job = SimpleNamespace(story=story_words, story_cut=0, status_at=known["finished"], **known)
    errors = [AsyncError(code=code, message="why") for code in codes]
    now = SimpleNamespace(
        status=str(job.status),
        errors=errors,
        status_at=time_of(9000),
        stopped_at=None,
        waiting_for="paused",
        waiting_reason=None,
        load_began_at=None,
        load_ended_at=None,
    )
    vars(now).update({name: time_of(at) for name, at in (load or {}).items()})  # fmt: skip
    steps = story(cast(Job, job), cast(RequestStatus, now))
    return [(step.what, int(step.at.timestamp()) if step.at else None, step.why) for step in steps]


def test_the_story_of_a_request_is_in_the_order_of_time_and_knows_each_attempts_time() -> None:
    twice = told("I1@1000 Q1@2000", ("A", "B"), attempt=2, started=5000)
    assert twice == [
        ("submitted", 0, ""), ("attempt 1 started", 1, ""), ("attempt 1 failed", 2, "A: why"),
        ("attempt 2 started", 5, ""), ("attempt 2 failed", 9, "B: why"), ("failed", 9, ""),
    ]  # fmt: skip
    went_on = told("I1@1000 Q1@2000", ("A",), attempt=2, started=5000, status=Status.SUCCEEDED)
    assert went_on[2:] == [
        ("attempt 1 failed", 2, "A: why"), ("attempt 2 started", 5, ""), ("succeeded", 9, ""),
    ]  # fmt: skip
    queued = told(status=Status.QUEUED, attempt=0, started=None)
    assert queued == [("submitted", 0, ""), ("waits for the model to be resumed", 9, "")]


def test_an_attempt_that_was_put_back_without_a_charge_takes_no_error_of_another() -> None:
    drained = told("I1@1000 Q0@2000", ("A",), started=5000)
    assert [step[0] for step in drained] == [
        "submitted", "attempt 1 started", "put back into the queue", "attempt 1 started", "attempt 1 failed", "failed",
    ]  # fmt: skip
    canceled = told("I1@1000 Q1@2000", ("A", "CANCELED"), status=Status.CANCELED, started=None)
    assert canceled[-2:] == [("attempt 1 failed", 2, "A: why"), ("canceled", 9, "CANCELED: why")]
    cut = told("I7@1000 Q7@2000", ("A", "B", "C"), attempt=8, started=5000)
    assert [step[2] for step in cut] == ["", "A: why", "", "B: why", "", "C: why", ""]


def test_the_load_that_a_request_waited_for_stands_before_the_attempt_of_that_replica() -> None:
    load = {"load_began_at": 3000, "load_ended_at": 4500}
    twice = told("I1@1000 Q1@2000", ("A",), load, attempt=2, started=5000, status=Status.SUCCEEDED)
    assert twice[2:] == [
        ("attempt 1 failed", 2, "A: why"), ("a replica began to load the model", 3, ""),
        ("the replica was ready", 4, "Its load took 1.5 s."), ("attempt 2 started", 5, ""), ("succeeded", 9, ""),
    ]  # fmt: skip
    load = {"load_began_at": -2000, "load_ended_at": 500}
    before = told("I1@1000 Q1@2000", ("A",), load, attempt=2, started=5000, status=Status.SUCCEEDED)
    assert [step[0] for step in before] == [
        "submitted", "the replica was ready", "attempt 1 started", "attempt 1 failed", "attempt 2 started", "succeeded",
    ]  # fmt: skip


def row(created: int, status: str, *environments: str) -> DeploymentRow:
    deployment = Deployment(f"d{created}", "m1", "m", "model", 1, "", "hash", created)
    known = DeploymentStatus(status, reason="why")  # type: ignore[arg-type]
    return DeploymentRow(deployment, known, QueueStatus(0, 0), (), environments, (), "why")


def test_what_a_newer_version_has_replaced_needs_nobody() -> None:
    old, serving = row(1, "DEPLOY_FAILED"), row(2, "ACTIVE", "production")
    newer = row(3, "DEPLOY_FAILED")
    model = ModelRow(Model("m1", "m", "model", 0, {}), (serving, newer, old))
    assert [broken.deployment.id for broken in model.broken] == ["d3"]
    only = replace(model, deployments=(old,))
    assert [broken.deployment.id for broken in only.broken] == ["d1"]
    pointed = replace(model, deployments=(row(1, "UNHEALTHY", "production"),))
    assert [broken.deployment.id for broken in pointed.broken] == ["d1"]

"""What the console tells of a request and of a model, from what the store knows."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from api.console.jobs import _steps
from api.console.overview import DeploymentRow, ModelRow
from deployments.registry.records import Deployment, Model
from deployments.registry.statuses import DeploymentStatus
from tasks.job import QueueStatus

AT = datetime(2026, 1, 1, tzinfo=UTC)


def told(**more: Any) -> list[str]:
    now = {
        "status": "FAILED", "attempt": 2, "created_at": AT, "started_at": AT, "finished_at": AT, "status_at": AT,
        "stopped_at": None, "stopped_by": None, "waiting_for": None, "waiting_reason": None, "errors": [],
    }  # fmt: skip
    return [step["what"] for step in _steps(SimpleNamespace(**now | more))]


def test_the_story_of_a_request_is_in_the_order_of_time() -> None:
    errors = [SimpleNamespace(code="MODEL_PREDICT_ERROR", message=why) for why in ("a", "b")]
    failed = ["submitted", "attempt 1 failed", "attempt 2 started", "attempt 2 failed", "failed"]
    assert told(errors=errors) == failed
    went_on = ["submitted", "attempt 1 failed", "attempt 2 started", "succeeded"]
    assert told(errors=errors[:1], status="SUCCEEDED") == went_on
    queued = told(status="QUEUED", attempt=0, started_at=None, waiting_for="paused")
    assert queued == ["submitted", "waits"]


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

"""What `kingpost promote` and `rollback` say: which deployment, and what becomes of the requests that wait at the old one."""

import uuid

import pytest
from typer.testing import CliRunner

from cli.main import app
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment
from tasks.job import RequestId, Submission
from tasks.settings import Settings
from tasks.store import verbs
from tasks.store.job_store import JobStore


@pytest.fixture
def two(
    store: JobStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> tuple[Deployment, Deployment]:
    monkeypatch.setenv("KINGPOST_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("KINGPOST_STATE_DIR", str(settings.state_dir))
    old, new = (store.run(registry.push("m", content, 1)) for content in ("hash1", "hash2"))
    return old, new


def submit(store: JobStore, deployment: Deployment) -> None:
    request_id = RequestId(uuid.uuid4().hex)
    job = Submission(request_id, deployment.id, deployment.model_id, b"{}", 0)
    store.run(verbs.submit([job], "alice", 100))


def said(*arguments: str) -> list[str]:
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done
    return done.stdout.splitlines()


def test_a_promotion_and_a_rollback_name_the_deployment(
    store: JobStore, two: tuple[Deployment, Deployment]
) -> None:
    old, new = two
    soon = f"production switches to {new.id} as soon as a replica is ready."
    assert said("promote", "m", new.id) == [soon]
    canceled = f"The promotion of {new.id} is canceled; production stays at {old.id}."
    assert said("rollback", "m") == [canceled]
    assert said("promote", "m", old.id) == [f"production points at {old.id} already."]
    store.run(registry.promote(new))
    store.run(registry.switch(new.model_id, "production", new.id))
    back = f"production switches to {old.id} as soon as a replica is ready."
    assert said("rollback", "m") == [back]


def test_a_rollback_to_what_could_not_be_loaded_needs_force(
    store: JobStore, settings: Settings, two: tuple[Deployment, Deployment]
) -> None:
    old, new = two
    store.run(registry.promote(new))
    store.run(registry.switch(new.model_id, "production", new.id))
    store.run(registry.fail_load(old.id, "frames\nOSError: no such weights", settings))
    refused = CliRunner().invoke(app, ["rollback", "m"])
    assert "The last load of" in str(refused.exception) and "no such weights" in str(
        refused.exception
    )
    back = f"production switches to {old.id} as soon as a replica is ready."
    assert said("rollback", "m", "--force") == [back]
    canceled = f"The promotion of {old.id} is canceled; production stays at {new.id}."
    store.run(registry.fail_load(new.id, "it is sick, too", settings))
    assert said("rollback", "m") == [canceled]  # this loads nothing


def test_a_promotion_says_how_many_requests_wait_at_the_old_deployment(
    store: JobStore, two: tuple[Deployment, Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = two
    submit(store, old)
    _, what, *ways = said("promote", "m", new.id)
    expire = f"and expire if {old.id} does not run them in time."
    assert what == f"1 queued request will stay with {old.id}, {expire}"
    command = (
        f"kingpost jobs move --deployment {old.id} --status QUEUED --to-deployment {new.id} --yes"
    )
    assert ways[0] == f"To move them: {command}"
    assert "KINGPOST_QUEUED_FOLLOW_ENVIRONMENT=1" in ways[1]
    submit(store, old)
    assert said("promote", "m", new.id)[1].startswith("2 queued requests will stay with")
    monkeypatch.setenv("KINGPOST_QUEUED_FOLLOW_ENVIRONMENT", "1")
    moves = f"2 queued requests of {old.id} will move to {new.id}."
    assert said("promote", "m", new.id)[1:] == [moves]

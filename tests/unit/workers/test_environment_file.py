"""Which environment a deployment serves, and the file in which its host reads it."""

import json
from pathlib import Path

import pytest

from deployments.registry import verbs as registry
from deployments.registry.records import Environment
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from workers.replica.environment_file import EnvironmentFile, environment_of


@pytest.mark.parametrize(
    ("serves", "warms", "name"),
    [
        ("", "", None),
        ("development", "", "development"),
        ("development production staging", "", "production"),
        ("development staging", "", "staging"),
        ("b a", "", "a"),
        ("", "staging production", "production"),
        ("staging", "production", "staging"),  # until the switch
    ],
)
def test_of_several_environments_one_is_told(serves: str, warms: str, name: str | None) -> None:
    pointed = {name: Environment(name, "mine", "other") for name in serves.split()}
    warming = {name: Environment(name, "other", "mine") for name in warms.split()}
    assert environment_of(pointed | warming, "mine") == name


def test_the_file_follows_the_registry(settings: Settings, tmp_path: Path) -> None:
    store = JobStore(settings)
    deployment = store.run(registry.push("m", "hash", 1))
    path = tmp_path / "environment"
    file = EnvironmentFile(store, deployment, path)
    assert file.run_once() == "production"
    assert json.loads(path.read_text()) == {"name": "production"}
    written = path.stat()
    file.run_once()
    assert path.stat().st_ino == written.st_ino  # untouched while nothing changes
    store.run(registry.promote(deployment, "staging"))
    store.run(registry.drop_environment(deployment.model_id, "production"))
    assert file.run_once() == "staging"
    assert json.loads(path.read_text()) == {"name": "staging"}
    store.run(registry.drop_environment(deployment.model_id, "staging"))
    assert file.run_once() is None
    assert not path.exists()

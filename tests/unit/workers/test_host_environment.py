"""The method setup_environment is called again when the environment file changes, and only then."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from deployments.packages.package import Package
from tests.conditions import wait_until_async
from workers.host import state as host_state
from workers.host.model.loader import Surroundings
from workers.host.state import ModelHost

MODEL = """
class Model:
    seen = []
    async def setup_environment(self, environment):
        self.seen.append(environment["name"])
        if environment["name"] == "broken":
            raise RuntimeError("no")
    def predict(self):
        return self.seen
"""


async def test_setup_environment_follows_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_state, "ENVIRONMENT_POLL", 0.01)
    file = tmp_path / "environment"
    (tmp_path / "package" / "model").mkdir(parents=True)
    (tmp_path / "package" / "config.yaml").write_text("")
    (tmp_path / "package" / "model" / "model.py").write_text(MODEL)

    def say(name: str) -> None:
        (tmp_path / "next").write_text(json.dumps({"name": name}))
        os.replace(tmp_path / "next", file)

    say("staging")
    package = Package.load(tmp_path / "package")
    host = ModelHost(package, Surroundings(environment_file=file))
    host.start_loading()
    await host.wait_loaded()
    assert host.methods.predict
    seen = host.methods.predict.function()
    assert seen == ["staging"]

    follower = asyncio.create_task(host.follow_environment())

    async def last_is(name: str) -> bool:
        return seen[-1] == name

    for name in ("production", "broken", "production"):
        say(name)
        await wait_until_async(lambda name=name: last_is(name))
    assert not follower.done()
    follower.cancel()
    assert seen[:2] == ["staging", "production"]

"""Baseten's own `truss` command pushes, promotes, waits and predicts, and shows why something is refused."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.conditions import wait_until
from tests.contract.deployments.rig import MODEL, Rig
from tests.contract.truss.conftest import Laptop

pytestmark = pytest.mark.stack


def id_of(kind: str, said: str) -> str:
    """The id of the model or deployment that a push tells."""
    found = re.search(rf"{kind} ID:\s+(\w{{8}})", said)
    assert found, said
    return found[1]


def answer(said: str) -> object:
    """What a predict prints after its first line."""
    return json.loads(said.split("...\n", 1)[1])


def deployment_of(rig: Rig, model: str, which: str) -> Any:
    return rig.http.get(f"/v1/models/{model}/deployments/{which}").json()


def test_a_push_by_the_servers_address_is_deployed_and_called(rig: Rig, laptop: Laptop) -> None:
    folder = str(rig.package("pushed", "one"))
    said = laptop.truss("push", folder, "--publish", remote="direct")
    model = id_of("Model", said)
    assert f"http://127.0.0.1:{rig.port}/models/{model}" in said
    assert deployment_of(rig, model, id_of("Deployment", said))["is_production"] is True
    given = ("predict", "--target-directory", folder, "--published", "-d", "{}")
    assert answer(laptop.truss(*given, remote="direct")) == "one"


@pytest.mark.slow
def test_a_draft_follows_the_folder_while_it_is_watched(rig: Rig, laptop: Laptop) -> None:
    folder = rig.package("watched", "one")
    (folder / "data").mkdir()
    (folder / "data" / "weights.bin").write_bytes(b"\xff" * 100)
    development = "/models/watched/development/predict"

    def says(expected: str) -> bool:
        return rig.http.post(development, json={}).json() == expected

    log = laptop.home / "watch.txt"
    with log.open("wb") as out:
        watching = laptop.start("push", str(folder), "--watch", out=out)
    try:
        wait_until(lambda: "Watching for changes" in log.read_text(), 60, "nothing is watched")
        assert says("one")
        for version in ("two", "three"):
            (folder / "model" / "model.py").write_text(MODEL.format(version=version))
            wait_until(lambda: says(version), 60, f"{version} is not served")  # noqa: B023
        wait_until(lambda: log.read_text().count("patched successfully") == 2, 30, "no patch")
        (folder / "model" / "model.py").write_text("class Model(")
        wait_until(lambda: "Failed to patch. Server error" in log.read_text(), 30, "no refusal")
    finally:
        watching.terminate()
        watching.wait(30)
    said = laptop.truss("predict", "--target-directory", str(folder), "-d", "{}")
    assert "development deployment ID" in said and answer(said) == "three"


CHAIN = """
import truss_chains as chains

class Shout(chains.ChainletBase):
    async def run_remote(self, text: str) -> str:
        return text.upper()

@chains.mark_entrypoint("greeter")
class Greeter(chains.ChainletBase):
    def __init__(self, shout: Shout = chains.depends(Shout, retries=3)) -> None:
        self._shout = shout

    async def run_remote(self, name: str) -> str:
        return "{version} " + await self._shout.run_remote(name)
"""


def chain_file(laptop: Laptop) -> Path:
    """Where the chain is, and the place to which its source goes."""
    for folder in ("chain", ".aws"):
        (laptop.home / folder).mkdir()
    (laptop.home / ".aws" / "config").write_text(
        f"[default]\nendpoint_url = {laptop.url}/truss/s3\n"
    )
    return laptop.home / "chain" / "greeter.py"


@pytest.mark.slow
def test_a_chain_is_pushed_called_and_replaced(rig: Rig, laptop: Laptop) -> None:
    file = chain_file(laptop)
    run, given, said = "/chains/greeter/production/run_remote", {"name": "you"}, ""
    for version, remote, more in (("Hello", "direct", ()), ("Goodbye", "kingpost", ("--promote",))):
        file.write_text(CHAIN.format(version=version))
        said = laptop.truss("chains", "push", str(file), *more, remote=remote)
        assert "Deployment succeeded." in said and "Shout" in said, said
        expected = f"{version} YOU"
        wait_until(lambda: rig.http.post(run, json=given).json() == expected, 30)  # noqa: B023
    address = re.search(r"curl -X POST 'http://localhost:8000(\S+)'", said)
    assert address and rig.http.post(address[1], json=given).json() == "Goodbye YOU"


@pytest.mark.slow
def test_a_laptop_that_reaches_only_the_port_does_it_all(rig: Rig, elsewhere: Laptop) -> None:
    folder = rig.package("far", "one")
    said = elsewhere.truss("push", str(folder), "--wait")
    assert "Deployment succeeded." in said
    given = ("predict", "--target-directory", str(folder), "--published", "-d", "{}")
    assert answer(elsewhere.truss(*given)) == "one"
    which = ("--model-id", id_of("Model", said), "--deployment-id", id_of("Deployment", said))
    assert elsewhere.truss("model-logs", *which, "--since", "1h").strip()
    file = chain_file(elsewhere)
    file.write_text(CHAIN.format(version="Far").replace('"greeter"', '"far-greeter"'))
    assert "Deployment succeeded." in elsewhere.truss("chains", "push", str(file))


@pytest.mark.slow
def test_a_push_is_promoted_and_waited_for(rig: Rig, laptop: Laptop) -> None:
    first = laptop.truss("push", str(rig.package("promoted", "one")), "--wait")
    assert "Deployment succeeded." in first
    model = id_of("Model", first)
    second = laptop.truss("push", str(rig.package("promoted", "two")), "--promote", "--wait")
    assert "Deployment succeeded." in second
    environment = rig.http.get(f"/v1/models/{model}/environments/production").json()
    now, soon = environment["current_deployment"], environment["candidate_deployment"]
    assert id_of("Deployment", second) in (now["id"], soon and soon["id"])
    third = laptop.truss("push", str(rig.package("promoted", "three")), "--environment", "staging")
    staging = deployment_of(rig, model, "staging")
    assert staging["id"] == id_of("Deployment", third) != id_of("Deployment", second)
    entries = rig.http.get(f"/v1/models/{model}/deployments").json()["deployments"]
    assert len(entries) == 3


def test_what_is_refused_is_said(rig: Rig, laptop: Laptop) -> None:
    folder = rig.package("refused", "one")
    config = folder / "config.yaml"
    config.write_text("model_name: refused\nresources: {instance_type: L4:4x16}\n")
    said = laptop.truss("push", str(folder), code=1)
    assert "ERROR ApiError" in said and "instance_type is a machine size of Baseten's" in said
    (folder / "secrets").symlink_to("/etc/passwd")
    said = laptop.truss("push", str(folder), code=1)
    assert "secrets is a link; a package has plain files and folders only." in said
    assert rig.http.get("/v1/models/refused").status_code == 404


def test_a_wrong_key_is_refused(rig: Rig, laptop: Laptop) -> None:
    stranger = Laptop(laptop.home.with_name("stranger"), laptop.url, "kp_wrong.0123456789abcdef")
    said = stranger.truss("push", str(rig.package("pushed", "one")), code=1)
    assert "please check the api-key you provided" in said and "401 Client Error" in said

"""Weights of deployments on a node: fetched before the host starts, said while they are, shared, and found by the model."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.conditions import wait_until
from tests.contract.deployments.rig import Rig
from tests.weights_servers import Hub, HubHandler, serving
from workers.weights.mounts import Mount, started_with

pytestmark = pytest.mark.stack

BIG = Random(3).randbytes(4_000_000)
READS = """
import hashlib
from pathlib import Path

class Model:
    def load(self):
        self.place = Path({place!r})
        self.size = len((self.place / "model.bin").read_bytes())

    def predict(self, given):
        return [self.size, sorted(each.name for each in self.place.iterdir())]
"""
PRETRAINED = """
from huggingface_hub import hf_hub_download

class Model:
    def load(self):
        with open(hf_hub_download("a/one", "config.json", local_files_only=True)) as file:
            self.config = file.read()

    def predict(self, given):
        return self.config
"""


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with serving(Hub(), HubHandler) as state:
        state.put("a/one", model__bin=BIG, config__json=b"{}")
        state.put("b/two", model__bin=BIG)
        state.put("c/slow", slow__bin=BIG[::-1])
        state.put("d/new", model__bin=BIG[:-100])
        yield state


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, hub: Hub) -> Iterator[Rig]:
    env = {"HF_ENDPOINT": hub.url, "KINGPOST_NODE_SLOTS": "6"}
    with Rig(tmp_path_factory.mktemp("weights"), env) as rig:
        rig.start("node", "node")
        yield rig


def package(rig: Rig, name: str, source: str, place: Path) -> Path:
    folder = rig.package(name, "one", READS.format(place=str(place)))
    config = {"model_name": name, "weights": [{"source": source, "mount_location": str(place)}]}
    (folder / "config.yaml").write_text(json.dumps(config))
    return folder


def predict(rig: Rig, name: str) -> object:
    answer = rig.http.post(f"/models/{name}/production/predict", json={})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_two_models_find_their_weights_which_are_fetched_once(rig: Rig, hub: Hub) -> None:
    places = [rig.folder / "mounts" / name for name in ("one", "two")]
    rig.kingpost("push", str(package(rig, "one", "hf://a/one@main", places[0])))
    rig.kingpost("push", str(package(rig, "two", "hf://b/two", places[1])))
    assert predict(rig, "one") == [len(BIG), ["config.json", "model.bin"]]
    assert predict(rig, "two") == [len(BIG), ["model.bin"]]
    assert hub.sent["model.bin"] == len(BIG)


def test_who_waits_for_a_download_hears_how_far_it_is(rig: Rig, hub: Hub) -> None:
    hub.faults.hold["slow.bin"] = held = threading.Event()
    hub.faults.cut_at["slow.bin"] = 1_500_000
    place = rig.folder / "mounts" / "slow"
    text = package(rig, "slow", "hf://c/slow", place) / "model" / "model.py"
    text.write_text(text.read_text().replace("model.bin", "slow.bin"))
    rig.kingpost("push", str(text.parents[1]), "--no-wait")
    call = {"model_input": {}}
    request = rig.http.post("/models/slow/production/async_predict", json=call).json()["request_id"]
    said = "fetches hf://c/slow: "
    wait_until(
        lambda: said in str(rig.http.get(f"/async_request/{request}").json()["waiting_reason"]), 60
    )
    assert said in rig.kingpost("deployments", "slow")
    held.set()
    result = rig.http.get(f"/async_request/{request}?wait=60").json()
    assert result["status"] == "SUCCEEDED"


@pytest.mark.skipif(
    started_with([Mount(Path("/usr"), "/usr")]) is None,
    reason="this machine lets nobody have mounts of his own",
)
def test_a_version_with_other_weights_at_the_same_place_is_promoted(rig: Rig, hub: Hub) -> None:
    place = rig.folder / "mounts" / "grows"
    rig.kingpost("push", str(package(rig, "grows", "hf://a/one", place)))
    assert predict(rig, "grows") == [len(BIG), ["config.json", "model.bin"]]
    old = rig_deployment(rig, "grows")
    rig.kingpost("push", str(package(rig, "grows", "hf://d/new", place)), "--promote")
    sizes: list[object] = []

    def is_promoted() -> bool:
        sizes.append(predict(rig, "grows"))
        return sizes[-1] == [len(BIG) - 100, ["model.bin"]]

    wait_until(is_promoted, 60)
    answer = rig.http.post(f"/models/grows/deployment/{old}/predict", json={})
    assert answer.json() == [len(BIG), ["config.json", "model.bin"]]
    assert {str(size) for size in sizes} <= {str(sizes[0]), str(sizes[-1])}


def test_weights_that_cannot_be_had_say_why(rig: Rig) -> None:
    folder = package(rig, "gone", "hf://a/gone", rig.folder / "mounts" / "gone")
    rig.kingpost("push", str(folder), "--no-wait")
    why = "The weights of hf://a/gone could not be had: The hub has no repository a/gone"
    wait_until(lambda: why in rig.kingpost("deployments", "gone"), 60)


def test_from_pretrained_finds_what_model_cache_has_fetched(rig: Rig, hub: Hub) -> None:
    folder = rig.package("cached", "one", PRETRAINED)
    entry = {"repo_id": "a/one", "revision": hub.commit("a/one"), "use_volume": False}
    config = {"model_name": "cached", "model_cache": [entry]}
    (folder / "config.yaml").write_text(json.dumps(config))
    rig.kingpost("push", str(folder))
    assert predict(rig, "cached") == "{}"


def test_a_killed_replica_finds_its_weights_without_the_hub(rig: Rig, hub: Hub) -> None:
    hub.faults.down = True
    try:
        (replica,) = [r for r in rig.replicas_of(rig_deployment(rig, "one")) if r.host_pid]
        os.kill(replica.pid, 9)
        wait_until(
            lambda: [
                r
                for r in rig.replicas_of(rig_deployment(rig, "one"))
                if r.state == "ready" and r.pid != replica.pid
            ],
            60,
        )
        assert predict(rig, "one") == [len(BIG), ["config.json", "model.bin"]]
    finally:
        hub.faults.down = False


def rig_deployment(rig: Rig, name: str) -> str:
    """The id of the deployment of a model with one."""
    found = rig.http.get(f"/v1/models/{name}/deployments").json()
    return str(found["deployments"][0]["id"])

"""Models that cannot be loaded beside a healthy one: whoever waits hears why, and the healthy one answers all along."""

import json
from collections.abc import Iterator

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from deployments.registry import verbs as registry
from deployments.registry.load_counts import load_counts
from deployments.registry.records import Deployment
from tests.api_keys import ApiKeys
from tests.conditions import wait_until
from tests.contract.deployments.rig import KEY, Rig

pytestmark = pytest.mark.stack

BROKEN = """
class Model:
    def load(self):
        raise {error}

    def predict(self, given):
        return given
"""
MENDED = """
import os

class Model:
    def load(self):
        if not os.path.exists({file!r}):
            raise OSError("no weights yet")

    async def websocket(self, socket):
        async for text in socket.iter_text():
            await socket.send_text(text.upper())
"""
SLOW = """
import os, threading

class Model:
    def load(self):
        while not os.path.exists({gate!r}):
            threading.Event().wait(0.05)

    def predict(self, given):
        return "loaded"
"""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    env = {"KINGPOST_LOAD_FAILURES": "2", "KINGPOST_NODE_SLOTS": "4", "KINGPOST_NODE_LOADS": "2"}
    with Rig(tmp_path_factory.mktemp("broken"), env) as rig:
        rig.node()
        healthy = rig.push("healthy", "one")
        rig.until_ready(healthy)
        yield rig


def pushed(rig: Rig, name: str, model: str) -> Deployment:
    rig.kingpost("push", str(rig.package(name, "one", model)))
    return next(
        deployment
        for deployment in rig.store.run(registry.deployments())
        if deployment.model_name == name
    )


def gave_up(rig: Rig, deployment: Deployment) -> bool:
    assert rig.predict("healthy") == "one"
    known = rig.store.run(registry.deployment(deployment.id))
    here = [
        replica
        for replica in rig.store.run(registry.replicas())
        if replica.deployment_id == deployment.id
    ]
    return known.gave_up and not here


@pytest.fixture(scope="module")
def broken(rig: Rig) -> list[Deployment]:
    """Three that have given up, each with a job that waits; the healthy model answered all along."""
    errors = ("OSError('no weights here')", "SystemExit(3)", "KeyError('HF_TOKEN')")
    folders = [
        str(rig.package(f"broken{number}", "one", BROKEN.format(error=error)))
        for number, error in enumerate(errors)
    ]
    rig.kingpost("push", *folders)
    found = [
        deployment
        for deployment in rig.store.run(registry.deployments())
        if deployment.model_name.startswith("broken")
    ]
    found.sort(key=lambda deployment: deployment.model_name)
    for deployment in found:
        rig.submit(deployment.model_name)
    for deployment in found:
        wait_until(lambda deployment=deployment: gave_up(rig, deployment), 60, "it holds its seat")
    return found


def test_three_broken_models_put_no_healthy_one_to_sleep(
    rig: Rig, broken: list[Deployment]
) -> None:
    (healthy,) = [
        deployment
        for deployment in rig.store.run(registry.deployments())
        if deployment.model_name == "healthy"
    ]
    assert len(rig.replicas(healthy)) == 1
    assert rig.store.run(registry.needy()) == []  # their jobs wait at nobody's cost
    assert rig.store.run(registry.switches()) == 0
    assert len(broken) == 3


def test_every_door_says_at_once_why(rig: Rig, broken: list[Deployment]) -> None:
    name = broken[0].model_name
    for method, path in (
        ("POST", f"/models/{name}/production/predict"),
        ("POST", f"/models/{name}/production/run_remote"),
        ("GET", f"/models/{name}/production/sync/v1/models"),
        ("POST", f"/models/{name}/deployment/{broken[0].id}/predict"),
        ("POST", "/v1/embeddings"),
    ):
        answer = rig.http.request(method, path, json={"model": name}, timeout=20)
        said = answer.json()
        assert answer.status_code == 503, path
        text = json.dumps(said)
        assert f"{name} could not be loaded: OSError: no weights here" in text, path
    stream = {"model": name, "stream": True}
    with rig.http.stream("POST", "/v1/chat/completions", json=stream, timeout=20) as answer:
        assert answer.status_code == 503


def test_the_owner_reads_the_frames_and_others_a_sentence(
    rig: Rig, broken: list[Deployment]
) -> None:
    path = f"/models/{broken[0].model_name}/production/predict"
    said = rig.http.post(path, json=1).json()
    assert (said["error_code"], said["reason"]) == ("model_unavailable", "model_load_failed")
    assert 'model/model.py", line 4, in load' in said["detail"]
    key = ApiKeys(rig.settings).create(scope="inference")
    said = rig.http.post(path, json=1, headers={"Authorization": f"Api-Key {key}"}).json()
    assert "weights" not in json.dumps(said)
    assert said["error"].startswith("broken0 could not be loaded: the owner sees the reason")
    assert (said["reason"], "detail" in said) == ("model_load_failed", False)


def test_their_loads_are_counted(rig: Rig, broken: list[Deployment]) -> None:
    for counted in rig.store.run(load_counts([deployment.id for deployment in broken])):
        assert counted.counts["failed"] >= 2
        assert "ready" not in counted.counts


def test_a_job_says_that_it_waits_for_a_load_that_failed(
    rig: Rig, broken: list[Deployment]
) -> None:
    request_id = rig.submit(broken[2].model_name)
    said = rig.status(request_id)
    assert (said["status"], said["waiting_for"]) == ("QUEUED", "load_failed")
    assert said["waiting_reason"].splitlines()[-1] == "KeyError: 'HF_TOKEN'"
    assert said["eta_seconds"] is None
    rig.http.delete(f"/async_request/{request_id}")


def test_the_reason_stays_when_the_replica_has_gone(rig: Rig, broken: list[Deployment]) -> None:
    assert "no weights here" in rig.kingpost("models")
    assert "DEPLOY_FAILED" in rig.kingpost("deployments", "broken0")
    assert "no weights here" in rig.kingpost("deployments", "broken0")
    (view,) = rig.http.get("/v1/models/broken0/deployments").json()["deployments"]
    assert view["status"] == "DEPLOY_FAILED"
    assert view["status_reason"].endswith("OSError: no weights here")
    assert broken[1].model_name in rig.kingpost("models")


def websocket(rig: Rig, path: str) -> str:
    url = f"ws://127.0.0.1:{rig.port}{path}"
    with connect(
        url, additional_headers={"Authorization": f"Api-Key {KEY}"}, open_timeout=60
    ) as socket:
        socket.send("hello")
        return str(socket.recv(20))


def test_a_websocket_is_refused_at_once_and_wakes_what_was_mended(rig: Rig) -> None:
    file = rig.folder / "weights"
    deployment = pushed(rig, "mended", MENDED.format(file=str(file)))
    wait_until(lambda: gave_up(rig, deployment), 60)
    path = "/models/mended/production/websocket"
    with pytest.raises(InvalidStatus) as refused:
        websocket(rig, path)
    assert refused.value.response.status_code == 503
    assert b"no weights yet" in refused.value.response.body
    file.write_text("")
    assert rig.http.post("/models/mended/production/wake").status_code == 202
    assert websocket(rig, path) == "HELLO"  # at once after the wake: nobody remembers the failure
    assert rig.store.run(registry.deployment(deployment.id)).failure == ""
    rig.autoscale(deployment, scale_down_delay=0, autoscaling_window=10)
    wait_until(lambda: not rig.replicas(deployment), 60, "it never slept")
    rig.autoscale(deployment)
    assert websocket(rig, path) == "HELLO"
    rig.kingpost("deactivate", deployment.id)


def test_a_deactivated_deployment_says_so_at_once(rig: Rig) -> None:
    deployment = rig.push("resting", "one")
    rig.kingpost("deactivate", deployment.id)
    wait_until(lambda: not rig.replicas(deployment), 30)
    answer = rig.http.post("/models/resting/production/predict", json=1, timeout=20)
    assert (answer.status_code, answer.json()["error_code"]) == (503, "model_not_ready")
    assert "resting is deactivated" in answer.json()["error"]
    with pytest.raises(InvalidStatus) as refused:
        websocket(rig, "/models/resting/production/websocket")
    assert b"resting is deactivated" in refused.value.response.body
    woken = rig.http.post("/models/resting/production/wake", timeout=20)
    assert (woken.status_code, woken.json()["error"]) == (503, answer.json()["error"])


def test_one_that_was_left_out_at_a_start_says_why(rig: Rig) -> None:
    deployment = rig.push("left_out", "one")
    rig.store.run(registry.activate(deployment.id, False))
    rig.store.run(
        registry.fail_load(
            deployment.id, "    def predict(self x)\nmodel/model.py:2: no", rig.settings, False
        )
    )
    for path in ("predict", "wake"):
        answer = rig.http.post(f"/models/left_out/production/{path}", json=1, timeout=20)
        assert (answer.status_code, answer.json()["reason"]) == (503, "model_load_failed")
        assert answer.json()["error"] == "left_out could not be loaded: model/model.py:2: no"
    assert "model/model.py:2: no" in rig.kingpost("deployments", "left_out")
    (view,) = rig.http.get("/v1/models/left_out/deployments").json()["deployments"]
    assert view["status"] in ("INACTIVE", "DEACTIVATING")
    assert view["status_reason"].endswith("model/model.py:2: no")
    accepted = rig.http.post("/models/left_out/production/async_predict", json={"model_input": 1})
    (warning,) = accepted.json()["warnings"]
    assert warning.endswith("left_out could not be loaded: model/model.py:2: no")
    request_id = accepted.json()["request_id"]
    wait_until(lambda: rig.status(request_id)["waiting_for"] == "load_failed")
    rig.http.delete(f"/async_request/{request_id}")


@pytest.mark.slow
def test_no_more_models_load_at_once_than_the_node_may(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with Rig(tmp_path_factory.mktemp("turns"), {"KINGPOST_NODE_LOADS": "1"}) as rig:
        gate = rig.folder / "gate"
        model = SLOW.format(gate=str(gate))
        folders = [str(rig.package(f"slow{number}", "one", model)) for number in range(3)]
        rig.kingpost("push", *folders)
        deployments = rig.store.run(registry.deployments())
        rig.node()

        def notes() -> list[str]:
            known = [
                replica
                for replica in rig.store.run(registry.replicas())
                if replica.state == "loading"
            ]
            return [replica.note or "" for replica in known if replica.note or replica.host_pid]

        wait_until(lambda: len(notes()) == 3, 60)
        assert sorted("turn" in note for note in notes()) == [False, True, True]
        known = rig.store.run(registry.replicas())
        (waiting, *_) = [replica.model_name for replica in known if replica.note]
        (loading,) = [replica.model_name for replica in known if not replica.note]
        request = rig.submit(waiting)
        turn = f"waits for its turn to load: {loading}"
        wait_until(lambda: turn in (rig.status(request)["waiting_reason"] or ""), 30)
        assert rig.status(request)["waiting_for"] == "loading"
        assert turn in rig.kingpost("models")
        gate.write_text("")
        for deployment in deployments:
            rig.until_ready(deployment)
        assert rig.predict(waiting) == "loaded"

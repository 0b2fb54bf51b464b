"""More deployments than the machine has room for: all get their turn."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.registry import verbs as registry
from kingpost import Client
from tests.conditions import wait_until
from tests.contract.deployments.rig import KEY, Rig

pytestmark = pytest.mark.stack

NAMES = ("alpha", "beta", "gamma")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    env = {"KINGPOST_NODE_SLOTS": "1", "KINGPOST_SLICE_SECONDS": "3"}
    with Rig(tmp_path, env) as rig:
        yield rig


@pytest.mark.chaos
def test_three_models_share_one_slot(rig: Rig) -> None:
    """The first has work for far longer than its slice; the others still get their turn."""
    for name in NAMES:
        rig.push(name, "one")
    busy = [rig.submit("alpha", {"delay": 0.5}) for _ in range(60)]
    others = [rig.submit(name, {"delay": 0.1}) for name in ("beta", "gamma") for _ in range(5)]
    rig.node()
    assert {rig.result(request_id) for request_id in others} == {"one"}
    left = [
        request_id
        for request_id in busy
        if rig.status(request_id)["status"] not in ("SUCCEEDED", "FAILED")
    ]
    assert left, "the slice never ended: the others waited for all of alpha's work"
    assert {rig.result(request_id) for request_id in busy} == {"one"}
    assert rig.store.run(registry.switches()) >= 2
    waits = [_waited(rig.status(request_id)) for request_id in others]
    print(f"switches: {rig.store.run(registry.switches())}, longest wait {max(waits):.1f} s")
    attempts = {rig.status(request_id)["attempt"] for request_id in (*busy, *others)}
    assert attempts == {1}  # a switch costs nobody an attempt


def _waited(status: dict[str, str]) -> float:
    stamps = [
        time.strptime(status[name][:19], "%Y-%m-%dT%H:%M:%S")
        for name in ("created_at", "started_at")
    ]
    return time.mktime(stamps[1]) - time.mktime(stamps[0])


def test_an_idle_model_makes_room_for_a_call(rig: Rig) -> None:
    first = rig.push("first", "one")
    rig.node()
    rig.until_ready(first)
    second = rig.push("second", "one")
    rig.until_ready(second)  # a new one shows at once whether it loads
    wait_until(lambda: rig.predict("first") == "one", 30)
    assert rig.result(rig.submit("second")) == "one"
    assert (
        len([replica for replica in rig.store.run(registry.replicas()) if replica.state == "ready"])
        <= 1
    )


def test_a_push_that_no_node_has_room_for_says_why(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINGPOST_API_KEY", KEY)
    url, folder = f"http://127.0.0.1:{rig.port}", rig.package("m", "one")
    (folder / "config.yaml").write_text("model_name: m\nresources: {accelerator: 'A10G:2'}\n")
    said = json.loads(rig.kingpost("push", str(folder), "--url", url, "--no-wait", "--json"))
    request_id = rig.submit("m")
    with Client(url, KEY) as client:
        steps = client.deployments.follow("m", said["deployment_id"])

        def until(words: str) -> None:
            step = next(step for step in steps if words in step.message)
            assert step.state == "queued"
            assert words in rig.status(request_id)["waiting_reason"]
            assert words in rig.kingpost("models", "--url", url)
            assert words in rig.kingpost("deployments")

        until("No node runs that could load it")
        rig.node("small", KINGPOST_NODE_GPUS="0=8Gi")
        until("No node has room for it: it needs 2 GPUs, and the machine has 1.")
        rig.node("none", KINGPOST_NODE_GPUS="")  # it runs all models on the CPU
        assert [step.state for step in steps][-1] == "ready"
    assert rig.result(request_id) == "one"


@pytest.mark.slow
def test_what_cannot_run_holds_no_place(rig: Rig) -> None:
    """Its process ends before it can report itself; and nothing on this machine helps one that needs GPUs it lacks."""
    torn = rig.push("torn", "one")
    (stored,) = (rig.settings.state_dir / "payloads" / "packages").glob("*/*.tar")
    stored.write_bytes(stored.read_bytes().replace(b"VERSION = 'one'", b"VERSION = 'evil"))
    rig.node()
    wait_until(lambda: "damaged" in rig.kingpost("deployments", "torn"), 30)
    good = rig.push("good", "one")
    rig.until_ready(good)
    assert rig.predict("good") == "one"
    assert not rig.replicas(torn)


@pytest.mark.slow
def test_one_that_nothing_here_helps_does_not_keep_others_waiting(tmp_path: Path) -> None:
    env = {"KINGPOST_NODE_SLOTS": "1", "KINGPOST_NODE_GPUS": "0=8Gi"}
    with Rig(tmp_path, env) as rig:
        huge = rig.package("huge", "one")
        (huge / "config.yaml").write_text("model_name: huge\nresources: {accelerator: 'A10G:2'}\n")
        said = rig.kingpost("push", str(huge), code=1)
        assert "resources.accelerator asks for 2 GPUs, and this machine has none" in said
        rig.kingpost("push", str(huge), "--allow-unsupported", "resources.accelerator")
        request_id = rig.submit("huge")
        rig.node()
        wait_until(
            lambda: (
                rig.store.run(registry.needy()) == [rig.store.run(registry.deployments())[0].id]
            ),
            20,
        )
        rig.until_ready(rig.push("first", "one"))
        rig.until_ready(rig.push("second", "one"))  # behind `huge` in the line
        assert rig.predict("second") == "one"
        assert rig.status(request_id)["status"] == "QUEUED"

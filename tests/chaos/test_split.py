"""Two nodes in two network namespaces against one store: one is cut off for 30 s, then comes back."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conditions import lasts, wait_until
from tests.contract.deployments.rig import Rig
from tests.processes import variables
from tests.told import Told

CUT_SECONDS = 30.0


def may_unshare() -> bool:
    return (
        shutil.which("unshare") is not None
        and subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode == 0
    )


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path) as rig:
        yield rig


@pytest.fixture
def told(rig: Rig) -> Iterator[Told]:
    with Told(rig.settings.redis_url) as told:
        yield told


def node_in_namespace(rig: Rig, name: str) -> subprocess.Popen[bytes]:
    state = rig.folder / name
    state.mkdir()
    port = 6379  # its own in every namespace
    known = variables(
        rig.settings,
        KINGPOST_REDIS_URL=f"redis://127.0.0.1:{port}/0",
        KINGPOST_STATE_DIR=str(state),
        KINGPOST_PAYLOAD_URL=(rig.settings.state_dir / "payloads").as_uri(),
        KINGPOST_NODE_SLOTS="1",
    )
    command = ["unshare", "-n", sys.executable, "-m", "tests.contract.deployments.namespace"]
    command += [str(rig.valkey.socket), str(port), sys.executable, "-m", "cli.parts", "node"]
    with (rig.folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(command, env=known, stdout=log, stderr=log, start_new_session=True)


@pytest.mark.chaos
@pytest.mark.skipif(not may_unshare(), reason="network namespaces need privileges")
def test_no_job_completes_twice_when_a_node_is_cut_off_and_comes_back(rig: Rig, told: Told) -> None:
    deployment = rig.push("split", "one")
    rig.autoscale(deployment, min_replica=2, max_replica=2)
    nodes = [node_in_namespace(rig, name) for name in ("left", "right")]
    try:
        rig.until_ready(deployment, 2)
        ids = [rig.submit("split", {"delay": 2}) for _ in range(200)]
        wait_until(lambda: sum(_running(rig, request_id) for request_id in ids[:8]) >= 6, 30)
        os.kill(nodes[0].pid, signal.SIGUSR1)
        lasts(CUT_SECONDS)
        os.kill(nodes[0].pid, signal.SIGUSR2)
        assert {rig.result(request_id) for request_id in ids} == {"one"}
        words = told.all()
        assert {words[request_id].count("SUCCEEDED") for request_id in ids} == {1}
        reruns = sum(rig.status(request_id)["attempt"] > 1 for request_id in ids)
        print(f"200 jobs, {reruns} ran again, none completed twice")
        assert reruns >= 1  # the cut was felt
        rig.until_ready(deployment, 2)
    finally:
        for node in nodes:
            node.terminate()
        for node in nodes:
            node.wait(60)


def _running(rig: Rig, request_id: str) -> bool:
    return rig.status(request_id)["status"] == "IN_PROGRESS"

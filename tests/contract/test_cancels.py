"""A cancelled call that does not stop costs its neighbours nothing, unless the package wants that; its slot stays busy."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.registry import verbs as registry
from deployments.registry.records import Replica
from tasks.job import RequestId
from tasks.settings import Settings
from tasks.state import Status
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tests.conditions import wait_until
from tests.contract.test_replica import Rig
from workers.hosting.client import state
from workers.hosting.sockets import worker_address

pytestmark = pytest.mark.stack

MODEL = r"""
import os, pathlib, threading

class Model:
    def __init__(self, data_dir, **_):
        self._folder = pathlib.Path(data_dir)

    def predict(self, order):
        with open(self._folder / "runs.txt", "a") as notes:
            notes.write(order["name"] + "\n")
        while "until" in order and not (self._folder / order["until"]).exists():
            threading.Event().wait(0.01)
        return os.getpid()
"""
GRACE = {"KINGPOST_STOP_GRACE_SECONDS": "0.3"}


@pytest.fixture
def rig(settings: Settings, store: JobStore, tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(settings, store, tmp_path / "recorder")
    (rig.folder / "model" / "model.py").write_text(MODEL)
    yield rig
    for process in rig.processes:
        if process.popen and process.popen.poll() is None:
            process.kill()


def start(rig: Rig, runtime: str, **env: str) -> Replica:
    (rig.folder / "config.yaml").write_text(f"model_name: recorder\nruntime: {{{runtime}}}\n")
    (replica,) = rig.start(**{**GRACE, **env})
    return replica


def canceled_deaf(rig: Rig) -> RequestId:
    """A job that runs on after its cancel, until the file `open` is there."""
    request_id = rig.submit("deaf", until="open")
    rig.until_running("deaf")
    rig.store.run(verbs.cancel(request_id))
    assert rig.job(request_id).status is Status.CANCELED
    return request_id


def let_go(rig: Rig, name: str = "open") -> None:
    (rig.folder / "data" / name).touch()


def host_pid(rig: Rig) -> int | None:
    (replica,) = rig.store.run(registry.replicas())
    return replica.host_pid


def left_running(rig: Rig, request_id: RequestId) -> bool:
    return request_id in [line["request_id"] for line in rig.logged("job.left_running")]


def check_ended_at_last(rig: Rig, request_id: RequestId) -> None:
    wait_until(lambda: rig.job(request_id).stopped_at, 10, "its slot was never free")
    job = rig.job(request_id)
    assert (job.status, job.stopped_by) == (Status.CANCELED, "cooperative")


def test_beside_others_a_call_runs_to_its_end_and_is_discarded(rig: Rig) -> None:
    replica = start(rig, "predict_concurrency: 2")
    neighbour = rig.submit("neighbour", until="also")
    rig.until_running("neighbour")
    deaf = canceled_deaf(rig)
    wait_until(lambda: left_running(rig, deaf), 10)
    said = state(worker_address(replica.address))
    assert said and (said.busy, rig.job(deaf).stopped_at) == (2, None)
    let_go(rig)
    check_ended_at_last(rig, deaf)
    let_go(rig, "also")
    job = rig.final(neighbour)
    assert (job.status, job.attempt) == (Status.SUCCEEDED, 1)
    assert rig.runs() == ["neighbour", "deaf"]
    assert host_pid(rig) == replica.host_pid


def test_a_package_may_want_its_host_to_be_ended(rig: Rig) -> None:
    replica = start(rig, "predict_concurrency: 2, on_cancel: end_host")
    neighbour = rig.submit("neighbour", until="also")
    rig.until_running("neighbour")
    deaf = canceled_deaf(rig)
    wait_until(lambda: rig.job(deaf).stopped_by == "killed", 20)
    let_go(rig, "also")
    job = rig.final(neighbour)
    assert (job.status, job.attempt) == (Status.SUCCEEDED, 1)
    assert host_pid(rig) != replica.host_pid


def test_a_package_may_want_a_call_to_run_to_its_end(rig: Rig) -> None:
    replica = start(rig, "on_cancel: finish_and_discard, stop_grace_seconds: 0")
    deaf = canceled_deaf(rig)
    after = rig.submit("after")
    wait_until(lambda: left_running(rig, deaf), 10)
    assert rig.job(after).status is Status.QUEUED  # the only slot is busy
    let_go(rig)
    assert rig.final(after).status is Status.SUCCEEDED
    check_ended_at_last(rig, deaf)
    assert host_pid(rig) == replica.host_pid


@pytest.mark.parametrize(
    "env", [{"KINGPOST_PREDICT_TIMEOUT_SECONDS": "1"}, {"KINGPOST_DRAIN_SECONDS": "0.5"}]
)
def test_such_a_call_ends_with_its_time_limit_and_with_the_drain(
    rig: Rig, env: dict[str, str]
) -> None:
    start(rig, "on_cancel: finish_and_discard", **env)
    deaf = canceled_deaf(rig)
    wait_until(lambda: left_running(rig, deaf), 10)
    if "KINGPOST_DRAIN_SECONDS" in env:
        rig.processes[0].signal(signal.SIGTERM)
        assert rig.processes[0].popen
        wait_until(lambda: rig.processes[0].popen.poll() is not None, 30)  # type: ignore[union-attr]
    wait_until(lambda: rig.job(deaf).stopped_by == "killed", 20)

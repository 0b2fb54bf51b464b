"""A replica whose model is sick loses no job: the job goes to another one uncharged, and the host is replaced."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.registry import verbs as registry
from deployments.registry.records import Replica
from tasks.settings import Settings
from tasks.state import Status
from tasks.store.job_store import JobStore
from tests.conditions import wait_until
from tests.contract.test_replica import Rig

pytestmark = pytest.mark.stack

CONFIG = """
model_name: recorder
runtime:
  predict_concurrency: 4
  health_checks: {restart_threshold_seconds: 10, stop_traffic_threshold_seconds: 10}
"""
MODEL = """
import asyncio, os, pathlib

class OutOfMemoryError(RuntimeError):  # as torch's
    pass

class Model:
    def __init__(self, data_dir, **_):
        self._folder, self._running = pathlib.Path(data_dir), 0

    def _says(self, what):
        file = self._folder / what
        return file.exists() and file.read_text() == str(os.getpid())

    def is_healthy(self):
        return not self._says("ill")

    async def predict(self, order):
        self._running += 1
        try:
            await asyncio.sleep(order.get("seconds", 0))
            return await self._run(order)
        finally:
            self._running -= 1

    async def _run(self, order):
        if self._says("broken") or order.get("breaks"):
            raise RuntimeError(order.get("breaks") or "CUDA error: device-side assert triggered")
        if order.get("language"):
            raise ValueError("unknown language " + order["language"])
        if self._says("ill"):
            raise RuntimeError("the engine inside has died")
        while order.get("company") and self._running < 2:
            if order["name"] in self._seen:
                break
            await asyncio.sleep(0.01)
        if order.get("large") and (self._running > 1 or order.get("too_large")):
            self._seen.add(order["name"])
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 80.00 GiB.")
        return os.getpid()

    _seen = set()
"""


@pytest.fixture
def rig(settings: Settings, store: JobStore, tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(settings, store, tmp_path / "recorder")
    (rig.folder / "config.yaml").write_text(CONFIG)
    (rig.folder / "model" / "model.py").write_text(MODEL)
    yield rig
    for process in rig.processes:
        if process.popen and process.popen.poll() is None:
            process.kill()


def mark(rig: Rig, what: str, replica: Replica) -> Path:
    """Tells the model in that replica's host how it is."""
    file = rig.folder / "data" / what
    file.with_suffix(".new").write_text(str(replica.host_pid))
    return file.with_suffix(".new").replace(file)


def now(rig: Rig, replica: Replica) -> Replica:
    known = rig.store.run(registry.replicas())
    return next(found for found in known if found.id == replica.id)


def test_a_sticky_fault_on_one_of_two_replicas_loses_no_job_and_replaces_the_host(
    rig: Rig,
) -> None:
    sick, well = rig.start(2, KINGPOST_HEARTBEAT_SECONDS="1")
    jobs = [rig.submit(f"before{n}", seconds=0.05) for n in range(20)]
    mark(rig, "broken", sick)
    jobs += [rig.submit(f"after{n}", seconds=0.05) for n in range(40)]
    ended = [rig.final(request_id) for request_id in jobs]
    assert {(job.status, job.attempt) for job in ended} == {(Status.SUCCEEDED, 1)}
    wait_until(lambda: now(rig, sick).host_pid not in (None, sick.host_pid), 20)
    wait_until(lambda: now(rig, sick).state == "ready", 20)
    assert now(rig, sick).host_ends == 1
    assert now(rig, well).host_pid == well.host_pid
    logs = "".join(process.log.read_text() for process in rig.processes)
    assert "its GPU cannot be used any more" in logs and "device-side assert triggered" in logs


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("CUDA error: device-side assert triggered", "its GPU cannot be used any more"),
        ("CUDA error: uncorrectable ECC error encountered", "its GPU reports a defect"),
    ],
)
def test_an_input_that_breaks_the_gpu_each_time_is_poison_and_no_other_job_is(
    rig: Rig, text: str, why: str
) -> None:
    rig.start(1)
    others = [rig.submit(f"other{n}", seconds=0.05) for n in range(8)]
    killer = rig.submit("killer", breaks=text)
    job = rig.final(killer, 60)
    assert (job.status, job.errors[-1].code) == (Status.FAILED, "poison")
    assert job.errors[0].message == f"The model host got sick under this request: {why}."
    assert text in job.errors[0].detail
    assert {rig.final(request_id).status for request_id in others} == {Status.SUCCEEDED}
    assert {line["why"] for line in rig.logged("host.ended")} == {why}


def test_an_input_that_an_exception_quotes_ends_no_host(rig: Rig) -> None:
    (replica,) = rig.start(1)
    job = rig.final(rig.submit("caller", language="'CUDA ECC error'"), 60)
    assert (job.status, job.errors[-1].code) == (Status.FAILED, "MODEL_PREDICT_ERROR")
    assert now(rig, replica).host_pid == replica.host_pid


def test_a_job_that_runs_out_of_memory_beside_others_runs_again_alone(rig: Rig) -> None:
    rig.start(1)
    large = rig.submit("large", large=True, company=True)
    rig.submit("beside", seconds=0.5)
    job = rig.final(large)
    assert (job.status, job.attempt) == (Status.SUCCEEDED, 2)
    assert [str(error.code) for error in job.errors] == ["MODEL_OUT_OF_MEMORY"]


def test_one_that_is_too_large_alone_fails_with_that_code_and_the_host_is_renewed(
    rig: Rig,
) -> None:
    (replica,) = rig.start(1)
    job = rig.final(rig.submit("huge", large=True, too_large=True))
    assert (job.status, job.attempt) == (Status.FAILED, 2)
    assert [str(error.code) for error in job.errors] == ["MODEL_OUT_OF_MEMORY"] * 2
    assert "CUDA out of memory. Tried to allocate 80.00 GiB." in job.errors[-1].detail
    rig.submit("huge again", large=True, too_large=True)
    wait_until(lambda: now(rig, replica).host_ends == 1, 20)
    ended = rig.logged("host.ended")
    assert [line["why"] for line in ended] == ["it ran out of memory 3 times in a row"]


def test_a_job_that_fails_on_an_unhealthy_replica_goes_to_another_one_uncharged(rig: Rig) -> None:
    sick, well = rig.start(2, KINGPOST_HEARTBEAT_SECONDS="1")
    ill = mark(rig, "ill", sick)
    jobs = [rig.submit(f"job{n}", seconds=0.05) for n in range(40)]
    ended = [rig.final(request_id) for request_id in jobs]
    assert {(job.status, job.attempt) for job in ended} == {(Status.SUCCEEDED, 1)}
    wait_until(lambda: now(rig, sick).state == "unhealthy", 20)
    assert now(rig, well).state == "ready"
    ill.unlink()
    wait_until(lambda: now(rig, sick).state == "ready", 20, "it never got calls again")
    assert now(rig, sick).host_pid == sick.host_pid, "it got well in time"


def test_a_host_that_stays_unhealthy_is_replaced_after_its_threshold(rig: Rig) -> None:
    (replica,) = rig.start(1)
    mark(rig, "ill", replica)
    wait_until(lambda: now(rig, replica).host_pid not in (None, replica.host_pid), 60)
    ended = rig.logged("host.ended")
    assert [line["why"] for line in ended] == ["its health checks have failed for 10 s"]

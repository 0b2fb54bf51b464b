"""resources.memory: a host that holds more is ended, its job says so, and everybody else goes on."""

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployments.registry import verbs as registry
from tasks.job import Job, RequestId, Retry, Submission
from tasks.settings import Settings
from tasks.state import FINAL, Status
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tests.conditions import wait_until
from tests.contract.host.running import write_package
from tests.processes import Process, ready_replicas, variables

pytestmark = pytest.mark.stack

# 1 GiB in steps, so that a watch that never looks lets it end well.
MODEL = """
import subprocess, sys, threading

GROW = '''
import threading
held = []
for _ in range(64):
    held.append(b"x" * (16 << 20))
    threading.Event().wait(0.02)
'''

class Model:
    def predict(self, given):
        if given == "child":
            subprocess.run([sys.executable, "-c", GROW])
        elif given == "large":
            exec(GROW, {})
        return given
"""
LIMIT = "resources: {memory: 400Mi}\n"


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Callable[[str], Process]]:
    processes: list[Process] = []

    def start(config: str) -> Process:
        package = write_package(tmp_path / "package", MODEL, f"model_name: m\n{LIMIT}{config}")
        log = tmp_path / "replica.log"
        processes.append(Process(["replica", str(package)], variables(settings), log).start())
        return processes[-1]

    yield start
    for process in processes:
        if process.popen and process.popen.poll() is None:
            process.kill()


@pytest.fixture
def submit(settings: Settings, store: JobStore) -> Callable[[str], Callable[[], Job]]:
    def submit(given: str) -> Callable[[], Job]:
        deployment = JobStore(settings).run(registry.deployments())[0]
        name, body = RequestId(uuid.uuid4().hex), json.dumps(given).encode()
        job = Submission(name, deployment.id, deployment.model_id, body, retry=Retry(3, 0, 0))
        store.run(verbs.submit([job], "alice", 100))

        def ended() -> Job:
            read: Callable[[], Job] = lambda: store.run(verbs.read(name)).job  # noqa: E731
            wait_until(lambda: read().status in FINAL, 60, f"{given} is not final")
            return read()

        return ended

    return submit


def test_the_job_that_holds_more_ends_at_once_and_the_next_one_runs(
    settings: Settings,
    start: Callable[[str], Process],
    submit: Callable[[str], Callable[[], Job]],
) -> None:
    start("")
    (replica,) = ready_replicas(settings)
    assert Path(f"/proc/{replica.host_pid}/oom_score_adj").read_text().strip() == "800"
    for given in ("large", "child"):
        job = submit(given)()
        assert (job.status, job.attempt) == (Status.FAILED, 1)
        (error,) = job.errors
        assert error.code == "MODEL_OUT_OF_MEMORY"
        assert error.message == (
            "The model host died (it used more than resources.memory, 400 MiB)."
        )
    assert submit("small")().status is Status.SUCCEEDED


def test_of_several_jobs_only_the_one_that_does_it_again_alone_fails(
    settings: Settings,
    start: Callable[[str], Process],
    submit: Callable[[str], Callable[[], Job]],
) -> None:
    start("runtime: {predict_concurrency: 2}\n")
    ready_replicas(settings)
    large, small = submit("large"), [submit("small") for _ in range(4)]
    job = large()
    assert {error.code for error in job.errors} == {"MODEL_OUT_OF_MEMORY"}
    assert (job.status, job.attempt) == (Status.FAILED, 2)  # the second time alone
    assert [ended().status for ended in small] == [Status.SUCCEEDED] * 4

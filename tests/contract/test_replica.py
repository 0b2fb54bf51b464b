"""A real Celery worker with a real model host on a real Valkey: order, kills, cancel, drain."""

import contextlib
import json
import os
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployments.registry import verbs as registry
from deployments.registry.records import Replica
from tasks.job import Job, RequestId, Retry, Submission
from tasks.settings import Settings
from tasks.state import FINAL, Status
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tests.conditions import lasts, wait_until
from tests.processes import Process, ready_replicas, variables
from tests.valkey import Valkey
from workers.hosting.client import state
from workers.hosting.sockets import worker_address

pytestmark = pytest.mark.stack

CONFIG = "model_name: recorder\n"
MODEL = '''
import asyncio, os, signal, subprocess, threading, time
from fastapi import HTTPException, Request

class Model:
    """Notes each run; does as it is told."""

    def __init__(self, data_dir, **_):
        self._notes = open(os.path.join(data_dir, "runs.txt"), "a", buffering=1)

    def predict(self, order: dict, request: Request):
        self._notes.write(order["name"] + "\\n")
        until = order.get("wait_for")
        if order.get("stubborn"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
            sum(iter(int, 1))  # a loop in C that keeps the interpreter lock: the host cannot even answer
        with request.state.watch_disconnect() as gone:
            while until and not os.path.exists(until) and not gone.is_set():
                threading.Event().wait(0.01)
        if order.get("child"):
            child = subprocess.Popen(["sleep", "1000"], start_new_session=bool(order.get("apart")))
            open(order["child"], "w").write(str(child.pid))
        if order.get("crash") and not os.path.exists(order.get("unless", "")):
            open(order.get("unless", os.devnull), "w").close()
            print("last words of " + order["name"], flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        if "status" in order:
            raise HTTPException(order["status"], "as ordered")
        if "progress" in order:
            request.state.progress(0.5, "half")
        return {"name": order["name"], "pid": os.getpid()}
'''


class Rig:
    """One replica of the recorder model, and what a test does with it."""

    def __init__(self, settings: Settings, store: JobStore, folder: Path) -> None:
        self.settings = settings
        self.store = store
        self.folder = folder
        (folder / "model").mkdir(parents=True)
        (folder / "data").mkdir()
        (folder / "config.yaml").write_text(CONFIG)
        (folder / "model" / "model.py").write_text(MODEL)
        self.processes: list[Process] = []

    def start(self, count: int = 1, **env: str) -> list[Replica]:
        for _ in range(count):
            log = self.folder.parent / f"replica-{len(self.processes)}.log"
            process = Process(["replica", str(self.folder)], variables(self.settings, **env), log)
            self.processes.append(process.start())
        return ready_replicas(self.settings, count)

    def maintenance(self, **env: str) -> Process:
        log = self.folder.parent / "maintenance.log"
        process = Process(["maintenance"], variables(self.settings, **env), log).start()
        self.processes.append(process)
        return process

    def submit(self, name: str, level: int = 0, key: str = "alice", **order: object) -> RequestId:
        deployment = JobStore(self.settings).run(registry.deployments())[0]
        body = json.dumps({"name": name, **order}).encode()
        job = Submission(
            RequestId(uuid.uuid4().hex), deployment.id, deployment.model_id, body, level,
            retry=Retry(3, 0, 0),
        )  # fmt: skip
        return self.store.run(verbs.submit([job], key, 10_000))[0]

    def job(self, request_id: str) -> Job:
        return self.store.run(verbs.read(request_id)).job

    def logged(self, event: str) -> list[dict[str, str]]:
        """The first replica's log lines of that event."""
        lines = self.processes[0].log.read_text().splitlines()
        found = [json.loads(line) for line in lines if f'"{event}"' in line]
        return [line for line in found if line.get("event") == event]

    def runs(self) -> list[str]:
        path = self.folder / "data" / "runs.txt"
        return path.read_text().split() if path.exists() else []

    def final(self, request_id: str, timeout: float = 30) -> Job:
        wait_until(lambda: self.job(request_id).status in FINAL, timeout, "the job is not final")
        return self.job(request_id)

    def until_running(self, name: str) -> None:
        wait_until(lambda: name in self.runs(), 10, f"{name} does not run")


@pytest.fixture
def rig(settings: Settings, store: JobStore, tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(settings, store, tmp_path / "recorder")
    yield rig
    for process in rig.processes:
        if process.popen and process.popen.poll() is None:
            process.kill()


def gate(rig: Rig) -> tuple[str, Callable[[], None]]:
    """A file that a running model waits for, and how to make it."""
    path = rig.folder / f"gate-{uuid.uuid4().hex[:6]}"
    return str(path), path.touch


def test_an_urgent_job_submitted_last_is_the_next_to_run(rig: Rig) -> None:
    rig.start()
    wait_for, open_gate = gate(rig)
    rig.submit("first", wait_for=wait_for)
    rig.until_running("first")
    slow = [rig.submit(f"low{i}", level=2) for i in range(50)]
    rig.submit("urgent", level=0)
    open_gate()
    for request_id in slow:
        rig.final(request_id)
    assert rig.runs()[:3] == ["first", "urgent", "low0"]


def test_queue_positions_are_the_order_in_which_jobs_then_run(rig: Rig) -> None:
    rig.start()
    wait_for, open_gate = gate(rig)
    rig.submit("first", wait_for=wait_for)
    rig.until_running("first")
    ids: dict[str, RequestId] = {}
    for i in range(30):
        name, key = f"j{i}", "alice" if i < 20 else "bob"
        ids[name] = rig.submit(name, level=i % 3, key=key)
    ahead = {
        name: rig.store.run(verbs.read(request_id)).jobs_ahead for name, request_id in ids.items()
    }
    open_gate()
    for request_id in ids.values():
        rig.final(request_id)
    assert rig.runs()[1:] == sorted(ids, key=lambda name: ahead[name] or 0)


def test_a_job_whose_host_is_killed_succeeds_on_its_next_attempt(rig: Rig) -> None:
    (replica,) = rig.start()
    wait_for, open_gate = gate(rig)
    request_id = rig.submit("victim", wait_for=wait_for)
    rig.until_running("victim")
    assert replica.host_pid
    os.kill(replica.host_pid, signal.SIGKILL)
    wait_until(lambda: rig.runs() == ["victim", "victim"], 20)
    open_gate()
    job = rig.final(request_id)
    assert (job.status, job.attempt) == (Status.SUCCEEDED, 2)
    assert "SIGKILL" in job.errors[0].message


def test_a_killed_workers_job_runs_again(rig: Rig) -> None:
    rig.maintenance()
    rig.start()
    wait_for, open_gate = gate(rig)
    request_id = rig.submit("victim", wait_for=wait_for)
    rig.until_running("victim")
    rig.processes[-1].kill()
    rig.start()
    wait_until(lambda: rig.runs() == ["victim", "victim"], 40)
    open_gate()
    job = rig.final(request_id)
    assert (job.status, job.attempt) == (Status.SUCCEEDED, 2)


SHORT = {"KINGPOST_LEASE_SECONDS": "1.5", "KINGPOST_HEARTBEAT_SECONDS": "0.3"}
FROZEN_SECONDS = 4.0  # more than two leases
# Of a replica that must keep its lease until a test stops it: on a busy machine it may wait seconds for a core.
KEPT_UNTIL_FROZEN = {"KINGPOST_LEASE_SECONDS": "8", "KINGPOST_HEARTBEAT_SECONDS": "0.3"}


def freeze(pid: int) -> None:
    """SIGSTOP for longer than a lease."""
    os.kill(pid, signal.SIGSTOP)
    lasts(FROZEN_SECONDS)
    os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("stalled", ["store", "worker"])
def test_a_call_that_outlives_its_lease_counts_and_nobody_is_charged(
    rig: Rig, valkey: Valkey, stalled: str
) -> None:
    """A replica of the same host with a free slot asks for jobs meanwhile: it must not run the job again."""
    (rig.folder / "config.yaml").write_text(CONFIG + "runtime: {predict_concurrency: 2}\n")
    rig.maintenance(**SHORT)
    rig.start(**SHORT)
    wait_for, open_gate = gate(rig)
    request_id = rig.submit("long", wait_for=wait_for)
    rig.until_running("long")
    assert valkey.process
    freeze(rig.processes[-1].pid if stalled == "worker" else valkey.process.pid)
    after = [rig.final(rig.submit(f"after{i}")) for i in range(4)]
    wait_until(lambda: rig.job(request_id).status is Status.IN_PROGRESS)
    open_gate()
    job = rig.final(request_id)
    assert (job.status, job.attempt, job.deaths, job.errors) == (Status.SUCCEEDED, 1, 0, ())
    assert {job.status for job in after} == {Status.SUCCEEDED}
    assert rig.runs().count("long") == 1


def test_a_call_whose_job_another_worker_has_claimed_is_stopped(rig: Rig) -> None:
    """The worker that comes back notices the loss; the job's second call is the one that counts."""
    rig.maintenance(**SHORT)
    (first,) = rig.start(**KEPT_UNTIL_FROZEN)
    wait_for, open_gate = gate(rig)
    request_id = rig.submit("long", wait_for=wait_for)
    rig.until_running("long")
    frozen = rig.processes[-1].pid
    os.kill(frozen, signal.SIGSTOP)
    rig.start()  # with a lease that a busy machine does not end
    wait_until(lambda: rig.runs() == ["long", "long"], 60)
    os.kill(frozen, signal.SIGCONT)
    wait_until(
        lambda: (said := state(worker_address(first.address))) and said.busy == 0,
        20,
        "it was not stopped",
    )
    open_gate()
    job = rig.final(request_id)
    assert (job.status, job.attempt, job.deaths) == (Status.SUCCEEDED, 2, 1)
    assert rig.runs() == ["long", "long"]


def test_a_job_counts_as_work_however_short_it_is(rig: Rig) -> None:
    """The autoscaler looks once a second. A replica with short jobs alone was taken for idle."""
    rig.start()
    rig.final(rig.submit("short"))
    wait_until(lambda: ready_replicas(rig.settings)[0].served == 1, 10, "the job is not counted")


def test_a_host_dies_with_its_worker(rig: Rig) -> None:
    (replica,) = rig.start()
    rig.processes[-1].kill()
    assert replica.host_pid
    wait_until(lambda: not Path(f"/proc/{replica.host_pid}").exists(), 5)


@pytest.mark.parametrize("apart", [False, True])  # in a session of its own
def test_what_a_model_started_ends_with_its_host(rig: Rig, apart: bool) -> None:
    """A data loader that lives on would keep the GPU's memory."""
    rig.start()
    note = rig.folder / "child"
    rig.final(rig.submit("parent", child=str(note), apart=apart))
    child = Path(f"/proc/{note.read_text()}")
    assert child.exists()
    rig.submit("killer", crash=True)
    wait_until(lambda: not child.exists(), 10, "the child of the model lives on")


def test_a_cancelled_running_job_is_stopped_and_the_next_one_runs(rig: Rig) -> None:
    rig.start()
    request_id = rig.submit("endless", wait_for="/nonexistent")
    rig.until_running("endless")
    rig.store.run(verbs.cancel(request_id))
    after = rig.submit("after")
    assert rig.final(after).status is Status.SUCCEEDED
    job = rig.job(request_id)
    assert (job.status, job.stopped_by) == (Status.CANCELED, "cooperative")
    assert job.stopped_at is not None


def test_a_model_that_ignores_everything_is_ended_and_the_next_job_runs(rig: Rig) -> None:
    rig.start(KINGPOST_STOP_GRACE_SECONDS="0.5")
    request_id = rig.submit("stubborn", stubborn=True)
    rig.until_running("stubborn")
    rig.store.run(verbs.cancel(request_id))
    assert rig.final(rig.submit("after")).status is Status.SUCCEEDED
    job = rig.job(request_id)
    assert job.stopped_by == "killed"
    assert job.stopped_at
    assert job.finished
    because = f"request {request_id} was cancelled"
    (ended,), (stopped,) = rig.logged("host.ended"), rig.logged("host.stopped")
    assert (ended["level"], ended["why"]) == ("info", because)
    assert stopped["level"] == "info"
    assert stopped["why"] == f"The model host was stopped because {because}."
    assert not rig.logged("host.lost") + rig.logged("host.died")  # nothing went wrong
    assert [line for line in rig.logged("host.changed") if line["error"]] == []
    print(f"stopped {(job.stopped_at - job.finished) / 1000:.2f} s after the cancel, grace 0.5 s")


def test_a_neighbour_of_a_job_that_had_to_be_ended_is_not_charged(rig: Rig) -> None:
    (rig.folder / "config.yaml").write_text(CONFIG + "runtime: {predict_concurrency: 2}\n")
    rig.start(KINGPOST_STOP_GRACE_SECONDS="0.5")
    wait_for, open_gate = gate(rig)
    neighbour = rig.submit("neighbour", wait_for=wait_for)
    rig.until_running("neighbour")
    stubborn = rig.submit("stubborn", stubborn=True)
    rig.until_running("stubborn")
    rig.store.run(verbs.cancel(stubborn))
    wait_until(lambda: rig.runs().count("neighbour") == 2, 20)
    open_gate()
    job = rig.final(neighbour)
    assert (job.status, job.attempt, job.errors) == (Status.SUCCEEDED, 1, ())


def test_a_time_limit_ends_an_attempt(rig: Rig) -> None:
    rig.start(KINGPOST_PREDICT_TIMEOUT_SECONDS="0.5", KINGPOST_STOP_GRACE_SECONDS="0.5")
    job = rig.final(rig.submit("endless", wait_for="/nonexistent"))
    assert (job.status, job.attempt) == (Status.FAILED, 3)
    assert {error.code for error in job.errors} == {"MODEL_PREDICT_TIMEOUT"}


def test_bad_input_is_not_retried_and_a_model_error_is(rig: Rig) -> None:
    rig.start()
    bad = rig.final(rig.submit("bad", status=422))
    assert (bad.attempt, bad.errors[0].code) == (1, "MODEL_INVALID_INPUT")
    assert bad.errors[0].message == "as ordered"
    broken = rig.final(rig.submit("broken", status=500))
    assert broken.attempt == 3
    assert [error.code for error in broken.errors] == ["MODEL_PREDICT_ERROR"] * 3


def test_a_job_that_kills_its_host_three_times_is_poison(rig: Rig) -> None:
    rig.start()
    job = rig.final(rig.submit("killer", crash=True), 60)
    assert (job.status, job.attempt, job.errors[-1].code) == (Status.FAILED, 3, "poison")
    assert job.errors[0].message == "The model host died (SIGSEGV)."
    log = rig.processes[0].log.read_text()  # its words are for operators, not for clients
    assert "last words of killer" in log
    deaths = [line["error"] for line in rig.logged("host.changed") if line["error"]]
    assert len(deaths) == 3
    for error in deaths:
        first, *printed, died = error.splitlines()
        assert first == "The model host printed last, before it died:"
        assert printed.count("last words of killer") == 1  # of this host, not of those before it
        assert died.startswith("The model host died (SIGSEGV). It said last: ")
    assert rig.final(rig.submit("after")).status is Status.SUCCEEDED


def test_after_two_deaths_a_job_runs_alone_so_that_more_killers_do_not_condemn_it(rig: Rig) -> None:
    (rig.folder / "config.yaml").write_text(CONFIG + "runtime: {predict_concurrency: 2}\n")
    rig.start(KINGPOST_MAX_DEATHS="5")
    wait_for, open_gate = gate(rig)
    neighbour = rig.submit("neighbour", wait_for=wait_for)
    rig.until_running("neighbour")
    others: list[RequestId] = []
    for runs in (2, 3):
        once = str(rig.folder / f"killed{runs}")
        others.append(rig.submit(f"killer{runs}", crash=True, unless=once))
        wait_until(lambda runs=runs: rig.runs().count("neighbour") == runs, 30)
    others.append(rig.submit("last", crash=True))
    wait_until(lambda: any(rig.job(other).status is Status.IN_PROGRESS for other in others), 10)
    assert "last" not in rig.runs()
    open_gate()
    job = rig.final(neighbour)
    assert (job.status, job.attempt, len(job.errors)) == (Status.SUCCEEDED, 3, 2)
    rig.store.run(verbs.cancel(others[-1]))


def test_a_drained_worker_gives_its_job_back_uncharged(rig: Rig) -> None:
    rig.start(KINGPOST_DRAIN_SECONDS="0.2")
    wait_for, open_gate = gate(rig)
    request_id = rig.submit("long", wait_for=wait_for)
    rig.until_running("long")
    assert rig.processes[-1].stop() == 0
    job = rig.job(request_id)
    assert (job.status, job.attempt) == (Status.QUEUED, 0)
    open_gate()
    rig.start()
    assert rig.final(request_id).attempt == 1


def test_a_drain_lets_a_running_job_finish(rig: Rig) -> None:
    rig.start()
    wait_for, open_gate = gate(rig)
    request_id = rig.submit("long", wait_for=wait_for)
    rig.until_running("long")
    rig.processes[-1].signal(signal.SIGTERM)
    wait_until(lambda: not ready_now(rig), 10)
    later = rig.submit("later")
    open_gate()
    assert rig.final(request_id).status is Status.SUCCEEDED
    assert rig.processes[-1].popen.wait(20) == 0  # type: ignore[union-attr]
    assert rig.job(later).status is Status.QUEUED


def test_many_signals_end_a_replica_as_one_does(rig: Rig) -> None:
    """A handler that takes a lock meets itself: the kernel sends SIGTERM for a parent that died, `up` another."""
    rig.start()
    process = rig.processes[-1].popen
    assert process
    for _ in range(300):
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.001)  # in vain, or it is over
    assert process.wait(30) == 0
    assert not ready_now(rig)


def ready_now(rig: Rig) -> list[Replica]:
    return [
        replica
        for replica in JobStore(rig.settings).run(registry.replicas())
        if replica.state == "ready"
    ]

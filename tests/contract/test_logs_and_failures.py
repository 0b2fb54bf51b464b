"""A real replica whose model prints, fails to load and dies: what the directory and the commands show."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.registry import verbs as registry
from deployments.registry.records import Replica
from tasks.job import Job, RequestId, Retry, Submission
from tasks.settings import Settings
from tasks.state import Status
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tests.conditions import wait_until
from tests.contract.host.running import write_package
from tests.memory import MEGABYTE, peak_rss
from tests.processes import Process, ready_replicas, variables

pytestmark = pytest.mark.stack

MODEL = """
import logging, os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import broken_library

class Model:
    def load(self):
        print("looking for weights")
        self._find()

    def _find(self):
        if not Path("data/weights").exists():
            broken_library.fail("no weights")

    def predict(self, given):
        print("sync says", given["say"])
        logging.getLogger("mine").warning("careful")
        os.write(1, b"from C code\\n")
        for percent in range(100):
            sys.stderr.write(f"\\r{percent} %")
        sys.stderr.write("\\rdone\\n")
        if given.get("fail"):
            raise KeyError("secret of the model")
        for _ in range(given.get("megabytes", 0)):
            os.write(1, b"x" * 1_000_000)
        if given.get("flood"):
            for number in range(given["flood"]):
                print("flood", number)
        print("half", end="")
        return given
"""
FILES = {"packages/broken_library.py": "def fail(why):\n    raise ValueError(why)\n"}


class Rig:
    """One replica with its log where `kingpost up` puts it."""

    def __init__(self, settings: Settings, store: JobStore, folder: Path) -> None:
        self.settings, self.store = settings, store
        self.package = write_package(folder / "teller", MODEL, "model_name: teller", FILES)
        self.log = settings.state_dir / "logs" / "replica-teller.log"
        self.store = JobStore(settings)
        ours = {"KINGPOST_LOG_FILE": str(self.log), "KINGPOST_MAX_LOG_BYTES": "30000"}
        self.env = variables(settings, NUM_LOAD_RETRIES_TRUSS="0", **ours)
        self.replica = Process(["replica", str(self.package)], self.env, folder / "early.log")
        self.followers: list[subprocess.Popen[str]] = []

    def weights(self) -> None:
        (self.package / "data").mkdir(exist_ok=True)
        (self.package / "data" / "weights").touch()

    def now(self) -> Replica | None:
        return next(iter(self.store.run(registry.replicas())), None)

    def submit(self, **given: object) -> RequestId:
        deployment = JobStore(self.settings).run(registry.deployments())[0]
        name, body = RequestId(uuid.uuid4().hex), json.dumps(given).encode()
        job = Submission(name, deployment.id, deployment.model_id, body, retry=Retry(1, 0, 0))
        return self.store.run(verbs.submit([job], "alice", 10))[0]

    def job(self, name: RequestId) -> Job:
        return self.store.run(verbs.read(name)).job

    def until(self, name: RequestId, status: Status) -> Job:
        wait_until(lambda: self.job(name).status is status, 30, f"{name} is not {status}")
        return self.job(name)

    def say(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "cli.main", *arguments]
        done = subprocess.run(
            command, env=self.env, capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout

    def follow(self, folder: Path) -> Path:
        out = folder / "followed"
        command = [sys.executable, "-m", "cli.main", "logs", "teller", "-f", "--json"]
        with out.open("w") as file:
            self.followers.append(subprocess.Popen(command, env=self.env, stdout=file, text=True))
        return out


@pytest.fixture
def rig(settings: Settings, store: JobStore, tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(settings, store, tmp_path)
    rig.replica.start()
    yield rig
    rig.replica.kill()
    for follower in rig.followers:
        follower.kill()
        follower.wait()


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_failed_load_shows_its_frames_and_its_jobs_wait(rig: Rig) -> None:
    wait_until(lambda: (now := rig.now()) and now.state == "failed", 30, "it did not fail")
    name = rig.submit(say="a")
    replica = rig.now()
    assert replica and replica.error
    frames = replica.error.splitlines()
    assert frames[0] == "Traceback (most recent call last):"
    assert frames[-1] == "ValueError: no weights"
    assert "broken_library.py" in replica.error and ", in _find" in replica.error
    assert "workers/host/" not in replica.error and "importlib" not in replica.error
    table = rig.say("models")
    assert all(len(line) <= 80 for line in table.splitlines())
    _, row, error = table.splitlines()
    assert row.split()[0] == "teller" and row.split()[-4:] == ["failed", "0", "1", "0"]
    assert error == "  ValueError: no weights"
    assert "looking for weights" in rig.say("logs", "teller")
    assert rig.job(name).status is Status.QUEUED
    tried = rig.log.read_text().count("looking for weights")
    wait_until(lambda: rig.log.read_text().count("looking for weights") > tried, 30, "no retry")
    assert "host.died" not in rig.log.read_text()  # we ended it
    rig.weights()
    rig.until(name, Status.SUCCEEDED)
    assert (now := rig.now()) and (now.state, now.error) == ("ready", None)


def test_every_line_of_a_request_carries_its_id_and_answers_carry_none(rig: Rig) -> None:
    rig.weights()
    ready_replicas(rig.settings)
    good, bad = rig.submit(say="a"), rig.submit(say="b", fail=True)
    rig.until(good, Status.SUCCEEDED)
    failed = rig.until(bad, Status.FAILED)
    assert all("secret" not in error.message for error in failed.errors)  # `detail` is the owner's
    own = [line for line in lines(rig.say("logs", good, "--json")) if "message" in line]
    assert [(line["level"], line["message"]) for line in own] == [
        ("info", "sync says a"), ("warning", "careful"), ("error", "done"), ("info", "half"),
    ]  # fmt: skip
    assert {line["model"] for line in own} == {"teller"}
    trace = [line for line in lines(rig.say("logs", bad, "--json")) if "traceback" in line]
    assert len(trace) == 1
    assert trace[0]["traceback"].splitlines()[1].strip().startswith(f'File "{rig.package}')
    assert trace[0]["traceback"].strip().endswith("KeyError: 'secret of the model'")
    everything = [line.get("message") for line in lines(rig.say("logs", "teller", "--json"))]
    assert everything.count("from C code") == 2
    text = rig.say("logs", bad[:8])
    assert f"error {bad[:8]} " in text and "KeyError" in text


def test_following_goes_on_over_a_new_host_and_turned_files(rig: Rig, tmp_path: Path) -> None:
    rig.weights()
    first = ready_replicas(rig.settings)[0].host_pid
    followed = rig.follow(tmp_path)
    wait_until(lambda: "looking for weights" in followed.read_text(), 20, "it does not follow")
    rig.until(rig.submit(say="a", flood=300), Status.SUCCEEDED)
    wait_until(
        lambda: followed.read_text().count('"message": "flood ') == 300, 20, "lines are missing"
    )
    assert first
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: (replica := rig.now()) and replica.host_pid not in (None, first), 30)
    ready_replicas(rig.settings)
    wait_until(lambda: rig.log.with_name(rig.log.name + ".1").exists(), 10, "it is not turned")
    rig.until(rig.submit(say="b", flood=300), Status.SUCCEEDED)
    wait_until(
        lambda: followed.read_text().count('"message": "flood ') == 600, 20, "lines are missing"
    )
    said = [line["message"] for line in lines(followed.read_text()) if "message" in line]
    assert [line for line in said if line.startswith("flood")] == [
        f"flood {n}" for n in range(300)
    ] * 2
    assert "host.died" in followed.read_text()


@pytest.mark.slow
def test_a_gigabyte_without_a_line_break_does_not_grow_the_worker(rig: Rig) -> None:
    rig.weights()
    ready_replicas(rig.settings)
    name = rig.submit(say="much", megabytes=1000)
    wait_until(lambda: rig.job(name).status is Status.SUCCEEDED, 120)
    wait_until(lambda: "bytes more)" in rig.log.read_text(errors="replace"), 60)
    most = peak_rss(rig.replica.pid) / MEGABYTE
    print(f"The worker had {most:.0f} MB at most.")
    assert most <= 150

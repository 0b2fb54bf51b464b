"""`kingpost up` as a person starts it: ready, killed part by part, restarted, stopped, refused."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from cli.stack.ports import free_port
from cli.stack.readiness import http_answers
from deployments.registry import verbs as registry
from deployments.registry.autoscaling import Autoscaling
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from tests.conditions import wait_until

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]


class Up:
    """One `kingpost up` on a state folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.models = folder / "models"
        self.port, self.flower_port = free_port(), free_port()
        self.log = folder / "up.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("KINGPOST_")}
        shutil.copytree(ROOT / "models" / "echo", self.models / "echo")

    def start(self, *more: str) -> "Up":
        command = [sys.executable, "-m", "cli.main", "up", "--models", str(self.models)]
        command += ["--state", str(self.state), "--port", str(self.port)]
        command += ["--flower-port", str(self.flower_port), *more]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=self.env)
        return self

    def ready(self) -> "Up":
        wait_until(self._ready, 60, "kingpost up is not ready")
        return self

    def _ready(self) -> bool:
        assert self.process
        assert self.process.poll() is None, self.said()
        return "Kingpost is ready" in self.said()

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def up_json(self) -> dict[str, Any]:
        return json.loads((self.state / "up.json").read_text())

    def pid(self, role: str) -> int:
        parts = [part for part in self.up_json()["parts"] if part["name"] in (role, "echo")]
        return next(part["pid"] for part in parts if part["role"] == role)

    def call(self, method: str, path: str, body: object = None) -> Any:
        key = (self.state / "api_key").read_text().strip()
        request = urllib.request.Request(
            self.up_json()["api"] + path,
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Api-Key {key}"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=150) as answer:
            return json.load(answer)

    def says(self, *arguments: str) -> str:
        """What a command prints that finds this stack by its state folder."""
        env = self.env | {"KINGPOST_STATE_DIR": str(self.state)}
        command = [sys.executable, "-m", "cli.main", *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def predicts(self) -> bool:
        try:
            return self.call("POST", "/models/echo/production/predict", {"a": 1}) == {"a": 1}
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> int:
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def refused(self, *more: str) -> str:
        """What it says when it does not start: one sentence, with exit code 1."""
        self.start(*more)
        assert self.process
        assert self.process.wait(60) == 1
        return self.said().strip().splitlines()[-1]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    up = Up(tmp_path)
    yield up
    if up.process and up.process.poll() is None:
        up.stop()


@pytest.fixture(scope="module")
def lasting_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One that several tests share, which leave it serving; broken folders stand beside its model."""
    up = Up(tmp_path_factory.mktemp("up"))
    for name, config, model in BROKEN:
        (up.models / name / "model").mkdir(parents=True)
        (up.models / name / "config.yaml").write_text(config)
        (up.models / name / "model" / "model.py").write_text(model)
    (up.models / "echo" / "model" / "model.py").write_text(PRINTS)
    up.start().ready()
    yield up
    assert up.process
    if up.process.poll() is None:
        up.stop()


PREDICT = "    def predict(self, x):\n        return x\n"
LOADS = f"class Model:\n{PREDICT}"
PRINTS = "class Model:\n    def predict(self, x):\n        print('got', x)\n        return x\n"
BROKEN = [
    ("config", "runtime: {predict_concurrency: many}\n", LOADS),
    ("copy", "model_name: echo\n", LOADS),
    ("environment", "requirements: ['./nowhere.whl']\n", LOADS),
    ("load", "", f"class Model:\n    def load(self):\n        import nosuch\n{PREDICT}"),
    ("syntax", "", "class Model:\n    def predict(self x):\n"),
]  # fmt: skip
REASONS = {
    "config": "predict_concurrency",
    "copy": "Its name echo is already the name of",
    "environment": "nowhere.whl",
    "load": "No module named 'nosuch'; if it is a library, add it to requirements",
    "syntax": "model/model.py:2:22: ",
}


def test_broken_folders_are_left_out_with_a_reason_each(lasting_up: Up) -> None:
    reasons = {broken["name"]: broken["reason"] for broken in lasting_up.up_json()["broken"]}
    assert reasons.keys() == REASONS.keys()
    said = lasting_up.said()
    left_out = said[said.index("Broken and left out") :]
    for name, word in REASONS.items():
        assert word in reasons[name].splitlines()[0]
        assert reasons[name].splitlines()[0] in left_out
    assert "def predict(self x):\n" in left_out and " ^" in left_out  # the line and a caret
    assert "Traceback" not in said
    wait_until(lasting_up.predicts)


def test_a_second_one_on_the_same_state_is_refused(lasting_up: Up, tmp_path: Path) -> None:
    other = Up(tmp_path / "other")
    other.state = lasting_up.state
    assert "Another `kingpost up` or `kingpost repair` uses" in other.refused("--no-flower")
    wait_until(lasting_up.predicts)


def test_the_log_and_the_models_of_a_running_stack(lasting_up: Up) -> None:
    up = lasting_up
    wait_until(up.predicts)
    log = [line for line in up.says("logs", "echo").splitlines() if "got {'a': 1}" in line][-1]
    request_id = log.split()[2]
    assert up.says("logs", request_id).splitlines() == [log]
    head, *rows = up.says("models").splitlines()
    assert head.split()[:4] == ["model", "id", "deployment", "serves"]
    (row,) = [row for row in rows if row.split()[:1] == ["echo"]]
    assert row.split()[-4:] == ["ready", "8", "0", "0"]
    holding = [
        path
        for path in (up.state / "logs").glob("replica-*.log")  # named by the deployment's id
        if request_id in path.read_text()
    ]
    assert len(holding) == 1


@pytest.mark.parametrize("role", ["valkey", "api", "maintenance", "node", "replica", "flower"])
def test_a_part_that_dies_is_started_again(lasting_up: Up, role: str) -> None:
    before = lasting_up.pid(role)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: lasting_up.pid(role) not in (before, None), 30)
    wait_until(lasting_up.predicts, 40, "it does not serve again")


def test_the_terminal_names_what_died(lasting_up: Up) -> None:
    wait_until(lasting_up.predicts, 40)
    says = "The {} of echo {} and is started again; `kingpost logs echo` shows more."
    store = JobStore(Settings(redis_url=lasting_up.up_json()["redis_url"]))

    def hosts() -> list[int | None]:
        found = store.run(registry.replicas())
        return [replica.host_pid for replica in found if replica.model_name == "echo"]

    wait_until(lambda: len(hosts()) == 1, 40)  # the entry of one that was killed ends
    (host,) = hosts()
    assert host
    os.kill(host, signal.SIGKILL)
    wait_until(lambda: says.format("model host", "ended") in lasting_up.said(), 30)
    wait_until(lasting_up.predicts, 40)
    os.kill(lasting_up.pid("replica"), signal.SIGKILL)
    wait_until(lambda: says.format("replica", "died") in lasting_up.said(), 40)
    wait_until(lasting_up.predicts, 40)


def test_a_store_that_hangs_is_named_by_the_terminal_and_by_commands(lasting_up: Up) -> None:
    wait_until(lasting_up.predicts, 40)
    store = lasting_up.pid("valkey")
    os.kill(store, signal.SIGSTOP)
    try:
        wait_until(lambda: "The store does not answer: " in lasting_up.said(), 40)
        command = [sys.executable, "-m", "cli.main", "models", "--state", str(lasting_up.state)]
        done = subprocess.run(command, env=lasting_up.env, capture_output=True, text=True)
        assert f"{lasting_up.state} does not answer, although `kingpost up` runs" in done.stderr
    finally:
        os.kill(store, signal.SIGCONT)
    wait_until(lambda: "The store answers again, after " in lasting_up.said(), 40)


def open_to_nobody(folder: Path, names: list[str]) -> list[str]:
    """Which of these the user `nobody` can read, list or connect to, once they stand in that folder."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.chdir(folder)
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        os.write(writing, "\n".join(filter(_opens, names)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        found = answer.read().split()
    assert os.waitpid(child, 0)[1] == 0
    return found


def _opens(name: str) -> bool:
    try:
        if name.endswith(".sock"):
            socket.socket(socket.AF_UNIX).connect(name)
        elif os.path.isdir(name):
            os.listdir(name)
        else:
            os.close(os.open(name, os.O_RDONLY))
    except OSError:
        return False
    return True


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_of_the_machine_reads_and_calls_nothing(lasting_up: Up) -> None:
    wait_until(lasting_up.predicts, 40)
    state = lasting_up.state
    for folder in (state, *(state / name for name in ("run", "logs", "valkey/appendonlydir"))):
        names = [path.name for path in folder.iterdir()]
        assert names, folder
        before = folder.stat().st_mode
        assert not open_to_nobody(folder, [".", *names])
        folder.chmod(before | 0o777)  # even if somebody opens the folder
        try:
            assert not open_to_nobody(folder, names)
        finally:
            folder.chmod(before)
    assert any(path.suffix == ".sock" for path in (state / "run").iterdir())


def test_a_client_that_comes_while_the_api_starts_again_waits_and_is_served(
    lasting_up: Up,
) -> None:
    wait_until(lasting_up.predicts, 40)
    os.kill(lasting_up.pid("api"), signal.SIGKILL)
    assert lasting_up.predicts()


def test_a_store_that_is_emptied_serves_again_and_says_what_is_lost(lasting_up: Up) -> None:
    up = lasting_up
    wait_until(up.predicts, 40)
    up.says("keys", "create", "--name", "second")
    path = "/models/echo/production/async_predict"
    for _ in range(2):
        up.call("POST", path, {"model_input": 1})
    before = up.call("GET", "/v1/models")
    with redis.Redis.from_url(up.up_json()["redis_url"]) as client:
        # its own, that of chainlets, and the second
        wait_until(lambda: '"keys": 3' in (up.state / "store.json").read_text(), 10)
        client.flushall()
    told = r"The store came back empty\. Requests lost: \d+, of which \d+ had not finished\. "
    told += r"Restored: API keys 3, deployments \d\."
    wait_until(lambda: re.search(told, up.said()), 30)
    wait_until(lambda: http_answers(up.up_json()["api"] + "/health/ready"), 30)
    wait_until(up.predicts, 60)  # with the key that its clients have
    assert up.call("GET", "/v1/models") == before
    assert "second" in up.says("keys", "list")
    request_id = up.call("POST", path, {"model_input": 1})["request_id"]
    status = f"/async_request/{request_id}?wait=20"
    wait_until(lambda: up.call("GET", status)["status"] == "SUCCEEDED", 40)


def test_a_model_that_never_came_up_is_exit_code_1_at_the_end(lasting_up: Up) -> None:
    assert lasting_up.stop() == 1
    last = lasting_up.said().splitlines()[-1]
    folders = last.partition("never came up: ")[2].partition("; the reasons")[0].split(", ")
    assert sorted(folders) == sorted(str(lasting_up.models / name) for name in REASONS)


def test_a_taken_port_is_one_sentence(up: Up) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", up.port))
        taken.listen()
        assert f"The API cannot listen: port {up.port} is already in use" in up.refused(
            "--no-flower"
        )
    assert len(up.said().strip().splitlines()) == 1


def test_an_unwritable_state_folder_is_one_sentence(up: Up) -> None:
    up.state.write_text("a file, not a folder")
    assert "cannot be written" in up.refused("--no-flower")


@pytest.mark.slow
def test_a_pushed_version_that_cannot_load_keeps_nothing_from_starting(up: Up) -> None:
    up.start("--no-flower").ready()
    broken = up.models.parent / "broken"
    shutil.copytree(up.models / "echo", broken)
    model = "class Model:\n    def load(self):\n        raise OSError('no weights')\n"
    (broken / "model" / "model.py").write_text(
        model + "    def predict(self, x):\n        return x\n"
    )
    assert "`kingpost models` shows whether it is loaded" in up.says(
        "push", str(broken), "--name", "other", "--no-wait"
    )
    # Each look starts a process, and a busy machine lets several loads wait for a core.
    wait_until(lambda: "no weights" in up.says("deployments", "other"), 120, "no reason is shown")
    said = "other could not be loaded: OSError: no weights"
    wait_until(lambda: said in up.said(), 60, "the terminal of `up` says nothing")
    assert up.stop() == 0
    up.start("--no-flower").ready()
    assert up.predicts()


@pytest.mark.slow
def test_a_model_that_slept_when_it_stopped_sleeps_on_and_wakes_when_it_is_called(up: Up) -> None:
    up.start("--no-flower").ready()
    settings = Settings(redis_url=up.up_json()["redis_url"], state_dir=up.state)
    store = JobStore(settings)
    (echo,) = store.run(registry.deployments())
    store.run(registry.configure(echo.id, Autoscaling(autoscaling_window=10, scale_down_delay=0)))
    wait_until(
        lambda: not JobStore(settings).run(registry.replicas()), 40, "it does not fall asleep"
    )
    up.stop()
    up.start("--no-flower").ready()
    assert up.predicts()

"""`kingpost up` where everything around it is somebody else's: the folder, the variables, the store, the address."""

import asyncio
import base64
import json
import os
import resource
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from cli.stack import up
from cli.stack.ports import free_port, url, why_taken
from cli.stack.start_failed import StartFailed
from cli.stack.up import Choices, run
from tests.conditions import wait_until
from tests.processes import Process
from tests.valkey import Valkey

pytestmark = pytest.mark.stack

NAMES = ("tasks", "cli", "api", "workers", "deployments", "redis", "celery", "typing", "typer")
NAME = "zai-org/GLM-5"
SOFT = 256  # file descriptors that the shell allows, softly; 1,024 is usual
PEEK = """
import os

class Model:
    def predict(self, wanted):
        return {name: os.environ.get(name) for name in wanted}
"""


def hostile_folder(folder: Path) -> Path:
    """A folder with modules of names that we use, each of which ends whoever imports it."""
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name}.py of somebody else')\n")
    return folder


def hostile_variables(modules: Path) -> dict[str, str]:
    """What other programs, a cluster and an odd locale leave in a shell."""
    nobody = f"127.0.0.1:{free_port()}"
    return {
        "CELERY_BROKER_URL": f"redis://{nobody}/7",
        "CELERY_BROKER_READ_URL": f"redis://{nobody}/7",
        "CELERY_BROKER_WRITE_URL": f"amqp://{nobody}//",
        "CELERY_RESULT_BACKEND": "db+sqlite:////nonexistent/results.db",
        "CELERY_CONFIG_MODULE": "their_settings",
        "FLOWER_PORT": "tcp://10.0.0.1:5555",
        "FLOWER_URL_PREFIX": "monitoring",
        "FLOWER_BASIC_AUTH": "them:theirs",
        "http_proxy": f"http://{nobody}",
        "HTTPS_PROXY": f"http://{nobody}",
        "ALL_PROXY": f"http://{nobody}",
        "KINGPOST_PORT": "tcp://10.0.0.2:8000",
        "KINGPOST_API_SERVICE_HOST": "10.0.0.2",
        "KINGPOST_API_PORT_8000_TCP_ADDR": "10.0.0.2",
        "REDIS_PORT": "tcp://10.0.0.3:6379",
        "PYTHONPATH": str(modules),
        "PYTHONOPTIMIZE": "1",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "LC_ALL": "C",
        "COLUMNS": "20",
    }


class Stack:
    """One `kingpost up` on the IPv6 loopback address, with a store that it reaches by a Unix socket."""

    def __init__(self, folder: Path, store: Valkey) -> None:
        self.state, self.models = folder / "the stäte", folder / "models"
        model = self.models / "peek" / "model" / "model.py"
        model.parent.mkdir(parents=True)
        model.write_text(PEEK)
        (self.models / "peek" / "config.yaml").write_text(f"model_name: {NAME}\n")
        modules = hostile_folder(folder / "pythonpath")
        env = os.environ | hostile_variables(modules)
        env["KINGPOST_REDIS_URL"] = f"redis+socket://{store.socket}?virtual_host=1"
        ports = ["--port", str(free_port()), "--flower-port", str(free_port())]
        folders = ["--models", str(self.models), "--state", str(self.state)]
        self.process = Process(
            ["up", "--host", "::1", *ports, *folders], env, folder / "up.log",
            cwd=hostile_folder(folder / "here"), soft_descriptors=SOFT, program=("-m", "kingpost"),
        )  # fmt: skip

    def said(self) -> str:
        return self.process.log.read_text()

    def ready(self) -> "Stack":
        def is_ready() -> bool:
            assert self.process.popen
            assert self.process.popen.poll() is None, self.said()
            return "Kingpost is ready" in self.said()

        wait_until(is_ready, 90, "kingpost up is not ready")
        return self

    def call(self, method: str, path: str, body: object = None) -> Any:
        known = json.loads((self.state / "up.json").read_text())
        key = (self.state / "api_key").read_text().strip()
        headers = {"Authorization": f"Api-Key {key}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(known["api"] + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, valkey_server: Valkey) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("anywhere"), valkey_server)
    stack.process.start()
    yield stack.ready()
    stack.process.stop(60)


def test_a_job_runs_and_its_model_sees_the_variables_of_the_user(stack: Stack) -> None:
    names = ["CELERY_BROKER_URL", "PYTHONPATH", "FLOWER_PORT", "KINGPOST_REDIS_URL", "no_proxy"]
    submitted = stack.call("POST", "/production/async_predict", {"model_input": names})
    request_id = submitted["request_id"]
    status = stack.call("GET", f"/async_request/{request_id}?wait=30")
    assert status["status"] == "SUCCEEDED", status
    seen = stack.call("GET", f"/async_request/{request_id}/result")
    given = stack.process.env
    assert {name: seen[name] for name in names[:3]} == {name: given[name] for name in names[:3]}
    assert seen["KINGPOST_REDIS_URL"] is None
    assert seen["no_proxy"] == "localhost,127.0.0.1,::1"


def test_a_model_whose_name_has_a_slash_is_called_by_either_spelling(stack: Stack) -> None:
    encoded = NAME.replace("/", "%2F")
    for name in (NAME, encoded):
        assert stack.call("POST", f"/models/{name}/production/predict", []) == {}
    assert f"  Models   {NAME}\n" in stack.said()
    assert f"/models/{encoded}/production/async_predict" in stack.said()


def test_the_addresses_that_it_prints_can_be_pasted(stack: Stack) -> None:
    flower = json.loads((stack.state / "up.json").read_text())["flower"]
    assert flower.startswith("http://[::1]:")
    assert flower in stack.said()
    password = (stack.state / "flower_password").read_text().strip()
    basic = base64.b64encode(f"kingpost:{password}".encode()).decode()
    asked = urllib.request.Request(flower, headers={"Authorization": f"Basic {basic}"})
    with urllib.request.urlopen(asked, timeout=30) as page:
        assert page.status == 200


def test_it_says_which_variables_it_does_not_use(stack: Stack) -> None:
    (line,) = [
        line for line in stack.said().splitlines() if line.startswith("Kingpost ignores these")
    ]
    assert "CELERY_BROKER_URL" in line
    assert "FLOWER_URL_PREFIX" in line


def test_the_soft_limit_of_descriptors_is_raised(stack: Stack) -> None:
    known = json.loads((stack.state / "up.json").read_text())
    pid = next(part["pid"] for part in known["parts"] if part["role"] == "api")
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    assert soft == hard


async def test_more_sync_calls_than_the_soft_limit_allows_are_all_answered(stack: Stack) -> None:
    host = json.loads((stack.state / "up.json").read_text())["api"].removeprefix("http://")
    key = (stack.state / "api_key").read_text().strip()
    call = "POST /production/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
    call += f"Authorization: Api-Key {key}\r\n\r\n[]"
    address = host.rpartition(":")[0].strip("[]"), int(host.rpartition(":")[2])
    opened = [await asyncio.open_connection(*address) for _ in range(SOFT + 50)]
    for _, writer in opened:
        writer.write(call.encode())
    async with asyncio.timeout(60):
        answers = [await reader.readline() for reader, _ in opened]
    assert answers == [b"HTTP/1.1 200 OK\r\n"] * (SOFT + 50)
    for _, writer in opened:
        writer.close()


def refused(folder: Path, terminal: pytest.CaptureFixture[str], host: str = "127.0.0.1") -> str:
    """Why `up` does not start: one sentence, and at most the first step before it."""
    choices = Choices(folder / "models", host, free_port(), None, folder / "state")
    with pytest.raises(StartFailed) as failed:
        run(choices)
    assert "\n" not in str(failed.value)
    assert terminal.readouterr().out.splitlines()[1:] == []
    return str(failed.value)


@pytest.fixture
def echo_in(tmp_path: Path) -> Path:
    package = tmp_path / "models" / "peek"
    (package / "model").mkdir(parents=True)
    (package / "model" / "model.py").write_text(PEEK)
    (package / "config.yaml").write_text("model_name: peek\n")
    return tmp_path


@pytest.fixture
def locked(valkey_server: Valkey) -> Iterator[Valkey]:
    """The shared server, for a moment with a password."""
    with redis.Redis(port=valkey_server.port) as client:
        client.config_set("requirepass", "theirs")
        yield valkey_server
        client.config_set("requirepass", "")


def test_a_store_with_another_password_is_one_sentence(
    echo_in: Path,
    locked: Valkey,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for user in (":mistaken@", ""):
        address = f"redis://{user}127.0.0.1:{locked.port}/0"
        monkeypatch.setenv("KINGPOST_REDIS_URL", address)
        said = refused(echo_in, capsys)
        assert f"redis://127.0.0.1:{locked.port}/0 refuses" in said
        assert "mistaken" not in said


def test_a_store_that_is_not_there_is_one_sentence_within_seconds(
    echo_in: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"redis://127.0.0.1:{free_port()}/0"
    monkeypatch.setenv("KINGPOST_REDIS_URL", address)
    assert up.FOREIGN_STORE_SECONDS <= 5
    monkeypatch.setattr(up, "FOREIGN_STORE_SECONDS", 0.5)
    said = refused(echo_in, capsys)
    assert f"No store can be used at {address}" in said
    assert "refused" in said


@pytest.mark.parametrize(
    ("host", "word"),
    [("192.0.2.1", "not an address of this machine"), ("no such host", "nor a name that")],
)
def test_an_address_of_another_machine_is_one_sentence(
    echo_in: Path, host: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert word in refused(echo_in, capsys, host)


def test_addresses_are_written_as_they_are_called() -> None:
    assert url("::", 80) == url("::1", 80) == "http://[::1]:80"
    assert url("0.0.0.0", 80) == "http://127.0.0.1:80"
    assert url("gpu-1.example", 80) == "http://gpu-1.example:80"
    assert why_taken("localhost", free_port()) is None

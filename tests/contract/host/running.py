"""A real model server process for one little model written in the test: Kingpost's host, or what stands in for it."""

import json
import shutil
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
from websockets.asyncio.client import connect, unix_connect

from tests.conditions import wait_until
from workers.hosting.sockets import worker_address
from workers.wire.messages import (
    KINDS,
    BodyPiece,
    End,
    Failure,
    Message,
    MessageDecoder,
    OutputChunk,
    Progress,
    Result,
)

Said = TypeVar("Said", bound=Message)
PREDICT = "/v1/models/model:predict"


@dataclass(frozen=True)
class JobAnswer:
    """The messages of one job, by kind."""

    messages: list[Message]

    def _of(self, kind: type[Said]) -> list[Said]:
        return [message for message in self.messages if isinstance(message, kind)]

    @property
    def kinds(self) -> str:
        return b"".join(KINDS[type(message)] for message in self.messages).decode()

    @property
    def head(self) -> Result:
        return self._of(Result)[0]

    @property
    def status_code(self) -> int:
        return self.head.status

    @property
    def headers(self) -> dict[str, str]:
        return self.head.headers

    @property
    def failure(self) -> str:
        return "".join(failure.text for failure in self._of(Failure))

    @property
    def end(self) -> End:
        return self._of(End)[0]

    @property
    def progress(self) -> list[tuple[float, str | None]]:
        return [(step.fraction, step.message) for step in self._of(Progress)]

    @property
    def output(self) -> list[bytes]:
        return [chunk.data for chunk in self._of(OutputChunk)]

    @property
    def content(self) -> bytes:
        kind = OutputChunk if self.head.streamed else BodyPiece
        return b"".join(piece.data for piece in self._of(kind))

    def json(self) -> Any:
        return json.loads(self.content)


def write_package(
    folder: Path, model: str | None, config: str = "", files: dict[str, str] | None = None
) -> Path:
    """A package folder with this model.py, config.yaml and further files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(textwrap.dedent(config) or "model_name: test\n")
    content = dict(files or {})
    if model is not None:
        content["model/model.py"] = model
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))
    return folder


class ServedModel:
    """A process that serves one model over HTTP, as the tests see it; a context manager."""

    name: str  # as --server has it
    package: Path  # the folder that the model runs in
    process: subprocess.Popen[bytes]
    http: httpx.Client
    worker: httpx.Client  # asks as the worker does; Truss's server has one way in for all

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="kp"))  # short: a socket's path has 108 bytes
        self._log = self.folder / "log"

    def launch(self, command: list[str], **how: Any) -> None:
        """Starts the process; does not wait for anything."""
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, **how)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self.worker.close()
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def state(self) -> dict[str, Any]:
        """At least `state`: loading, ready or failed; {} while nothing listens."""
        raise NotImplementedError

    def settle(self, **counts: int) -> None:
        """Waits until `busy`, `sync_waiting` or `jobs_waiting` is so much."""
        raise NotImplementedError

    def websocket(self, path: str = "/v1/websocket", **how: Any) -> connect:
        """Connects to it."""
        raise NotImplementedError

    def wait(self, state: str = "ready") -> Self:
        """Waits until the server is in this state."""
        wait_until(lambda: self.state().get("state") == state, 30, f"no {state}: {self.text()}")
        return self

    def predict(self, value: object = None, **how: Any) -> httpx.Response:
        """A sync predict."""
        how.setdefault("content", json.dumps(value))
        return self.http.post(PREDICT, **how)

    def answers(self, value: object = None, **how: Any) -> "list[httpx.Response | JobAnswer]":
        """The same input through every door that the server has."""
        return [self.predict(value, **how)]

    def text(self) -> str:
        """All that the process wrote."""
        return self._log.read_text(errors="replace")

    def logs(self) -> list[dict[str, Any]]:
        """Its JSON lines."""
        return [json.loads(line) for line in self.text().splitlines() if line.startswith("{")]


def client_at(socket: str) -> httpx.Client:
    """Asks over that Unix socket."""
    transport = httpx.HTTPTransport(uds=socket)
    return httpx.Client(transport=transport, base_url="http://host", timeout=30)


class RunningHost(ServedModel):
    """One model host of Kingpost's; use it as a context manager."""

    name = "kingpost"

    def __init__(self, package: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        super().__init__()
        self.package = package
        self.socket = str(self.folder / "s")
        self.serial = 0
        command = [sys.executable, "-m", "workers.host.main", "--package", str(package)]
        sockets = ["--uds", self.socket, "--worker-uds", worker_address(self.socket)]
        self.launch([*command, *sockets, *arguments], env=env)
        self.http = client_at(self.socket)
        self.worker = client_at(worker_address(self.socket))

    def state(self) -> dict[str, Any]:
        """What the host says of itself; {} while nothing listens."""
        try:
            return self.worker.get("/state").json()
        except httpx.TransportError:
            return {}

    def settle(self, **counts: int) -> None:
        wait_until(lambda: self.state().items() >= counts.items(), message=f"no {counts}")

    def websocket(self, path: str = "/v1/websocket", **how: Any) -> connect:
        return unix_connect(self.socket, f"ws://host{path}", **{"open_timeout": 60, **how})

    def answers(self, value: object = None, **how: Any) -> "list[httpx.Response | JobAnswer]":
        return [self.predict(value, **how), self.job(value, **how)]

    def job(self, value: object = None, name: str | None = None, **how: Any) -> JobAnswer:
        """The same input as a job."""
        self.serial += 1
        how.setdefault("content", json.dumps(value))
        answer = self.worker.post(f"/jobs/{name or f'job{self.serial}'}", **how)
        assert answer.status_code == 200, answer.text
        decoder = MessageDecoder()
        messages = decoder.feed(answer.content)
        assert decoder.empty
        return JobAnswer(messages)

"""One stack for all tests of the client: `kingpost up` in an empty folder, and what docs/client.md types after it."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cli.parts import sentence_of
from cli.stack.ports import free_port
from tests.conditions import wait_until
from tests.typed import typed

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "client.md").read_text()
COUNTER = """
class Model:
    def predict(self, model_input):
        upto = model_input["upto"]
        for number in range(1, upto + 1):
            if number == model_input.get("fail_at"):
                raise ValueError("lost count")
            yield f"{number}" + (".\\n" if number == upto else ", ")
"""
WEIGHER = """
class Model:
    def predict(self, model_input):
        if "copy" in model_input:
            return [model_input["file"].read_bytes(), {"again": model_input["file"]}]
        return {"bytes": model_input["file"].stat().st_size}
"""
PAINTER = """
import base64
from starlette.responses import Response

PNG = b"\\x89PNG\\r\\n\\x1a\\n" + bytes(range(64))

class Model:
    def predict(self, model_input, request):
        what = model_input["what"]
        if what == "hold":
            with request.state.watch_disconnect() as gone:
                gone.wait(60)
        if what == "fail":
            raise ValueError("no paint")
        if what == "bytes":
            return Response(PNG, media_type="image/png")
        if what == "steps":
            for step in (1, 2):
                request.state.progress(step / 2, f"step {step}/2")
        return {"image": base64.b64encode(PNG).decode(), "url": "data:text/plain;base64,aGk="}
"""


@dataclass
class Shell:
    """A terminal in a folder."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict[str, str])

    def run(self, line: str, given: str = "", **more: str) -> "subprocess.CompletedProcess[str]":
        """Types a line; what it said and its exit code."""
        return subprocess.run(
            shlex.split(line), input=given, cwd=self.folder, env=self._environment() | more,
            capture_output=True, text=True, timeout=180,
        )  # fmt: skip

    def type(self, line: str, given: str = "", **more: str) -> str:
        """Types a line that must succeed; what it printed."""
        done = self.run(line, given, **more)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, line: str, given: str = "", **more: str) -> str:
        """Types a line that must be refused with one sentence."""
        done = self.run(line, given, **more)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stdout + done.stderr
        return done.stderr.strip()

    def start(self, line: str) -> "subprocess.Popen[str]":
        """Types a line, and leaves it running."""
        return subprocess.Popen(
            shlex.split(line), cwd=self.folder, env=self._environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**os.environ, "PATH": path, **self.variables}


class Laptop(Shell):
    """The same in this process, because to start a hundred costs minutes."""

    def run(self, line: str, given: str = "", **more: str) -> "subprocess.CompletedProcess[str]":
        """Types a line; what it said and its exit code."""
        words, variables = shlex.split(line), self.variables | more
        with contextlib.chdir(self.folder):
            done = typed(words[1:], input=given, env=variables)
        if done.exception and not isinstance(done.exception, SystemExit):
            sentence = sentence_of(done.exception)
            if sentence is None:
                raise done.exception
            return subprocess.CompletedProcess(words, 1, done.stdout, f"{done.stderr}{sentence}\n")
        return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)


@dataclass
class Stack:
    """The stack that `kingpost up` runs in the folder of the shell."""

    shell: Shell
    url: str
    first_answer_seconds: float  # from the start of `up`
    said: dict[str, str]  # by each line of the page that was typed

    @property
    def key(self) -> str:
        return (self.shell.folder / ".kingpost" / "api_key").read_text().strip()

    def package(self, name: str, model: str) -> Path:
        folder = self.shell.folder / name
        (folder / "model").mkdir(parents=True)
        (folder / "config.yaml").write_text(f"model_name: {name}\n")
        (folder / "model" / "model.py").write_text(model)
        return folder


def lines_of_the_page() -> list[str]:
    """What "A first answer" types."""
    blocks = re.findall(r"^```console\n(.*?)```", PAGE, re.M | re.S)
    return [line[2:] for block in blocks for line in block.splitlines() if line[:2] == "$ "]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The first answer as the page types it, but for the ports. Later tests use the same stack."""
    folder = tmp_path_factory.mktemp("empty")
    shell, log = Shell(folder), folder.parent / "client-up.log"
    up, *lines = lines_of_the_page()
    assert up == "kingpost up"
    port, began = free_port(), time.monotonic()
    command = [sys.executable, "-m", "kingpost", "up", "--port", str(port), "--no-flower"]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=folder, stdout=file, stderr=file, start_new_session=True
        )
    try:
        wait_until(lambda: _ready(process, log), 120, "`kingpost up` is not ready")
        said = {line: shell.type(line) for line in lines}
        seconds = time.monotonic() - began
        stack = Stack(shell, f"http://127.0.0.1:{port}", seconds, said)
        for name, model in {"counter": COUNTER, "painter": PAINTER, "weigher": WEIGHER}.items():
            shell.type(f"kingpost push {stack.package(name, model)}")
        yield stack
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        process.wait(90)


def _ready(process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    return "Kingpost is ready" in log.read_text()


@pytest.fixture
def far(stack: Stack, tmp_path: Path) -> Shell:
    """A laptop: another folder, another home, and the address of the stack in no variable."""
    config = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "COLUMNS": "80"}
    (tmp_path / "laptop").mkdir()
    return Laptop(tmp_path / "laptop", config)


@pytest.fixture
def logged_in(stack: Stack, far: Shell) -> Shell:
    """The same after `kingpost login`."""
    far.type(f"kingpost login {stack.url}", given=stack.key)
    return far

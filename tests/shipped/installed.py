"""What a user has: an environment with Kingpost in it, a folder elsewhere, and no variable of ours."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from cli.stack.ports import free_port
from tests.conditions import wait_until
from tests.wheels import ROOT

INSTALL_SECONDS = 600
START_SECONDS = 120
DOCKERFILE = (ROOT / "Dockerfile").read_text()
# What a folder may hold by chance; each would end the process that imports it instead of ours.
HOSTILE = ("tasks", "api", "redis", "cli", "workers", "deployments", "celeryconfig", "yaml")


@dataclass(frozen=True)
class Installed:
    """One environment."""

    folder: Path

    def program(self, name: str) -> str:
        return str(self.folder / "bin" / name)

    @property
    def size(self) -> int:
        """Bytes of all files in it."""
        files = (path for path in self.folder.rglob("*") if not path.is_symlink())
        return sum(path.stat().st_size for path in files if path.is_file())

    def install(self, *what: str) -> None:
        """By uv, or by pip where uv finds no index; everything that is required is resolved and fetched."""
        options = ["-q", "-c", str(ROOT / "constraints.txt"), *what]
        uv = str(Path(sys.executable).parent / "uv")
        commands = (
            [uv, "pip", "install", "--python", self.program("python"), *options],
            [self.program("pip"), "install", *options],
        )
        said = [_run(command, self.folder) for command in commands if Path(command[0]).exists()]
        assert any(line is None for line in said), said


def make(folder: Path) -> Installed:
    """An empty environment."""
    said = _run([sys.executable, "-m", "venv", str(folder)], folder.parent)
    assert said is None, said
    return Installed(folder)


def install_as_the_image_does(environment: Installed, context: Path) -> None:
    """Runs the Dockerfile's installations, but for torch and the extra that needs it: a gigabyte."""
    lines = [line.removeprefix("RUN ") for line in DOCKERFILE.splitlines() if line[:4] == "RUN "]
    installs = [line for line in lines if "pip install" in line and not line.endswith(" torch")]
    assert len(installs) == 2, installs
    for line in installs:
        plain = line.replace("requirements.py models", "requirements.py server")
        path = f"{environment.folder / 'bin'}:/usr/bin:/bin"
        said = _run(["/usr/bin/env", f"PATH={path}", "bash", "-euc", plain], context)
        assert said is None, said


def _run(command: list[str], cwd: Path) -> str | None:
    """None, or what a failed command said."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    return None if done.returncode == 0 else done.stdout + done.stderr


def hostile(folder: Path) -> Path:
    """Fills a folder with modules of names that we use."""
    for name in HOSTILE:
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name}.py of the current folder')\n")
    return folder


@dataclass
class Place:
    """A folder where a user works, and what was started there."""

    environment: Installed
    folder: Path
    variables: dict[str, str] = field(default_factory=dict[str, str])
    running: dict[str, subprocess.Popen[bytes]] = field(
        default_factory=dict[str, "subprocess.Popen[bytes]"]
    )
    port: int = field(default_factory=free_port)
    within: tuple[
        str, ...
    ] = ()  # the command that runs a program, as in a network namespace of its own

    def start(self, name: str, command: list[str], **more: str) -> "subprocess.Popen[bytes]":
        """A long-running program of the environment, logged under a name."""
        program, *words = command
        with self._log(name).open("ab") as log:
            self.running[name] = subprocess.Popen(
                [*self.within, self.environment.program(program), *words],
                cwd=self.folder, env=self._environment() | more, stdout=log, stderr=log,
            )  # fmt: skip
        return self.running[name]

    def says(self, *command: str) -> str:
        """What a program of the environment prints that has to end well."""
        done = self._run(command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def types(self, line: str) -> str:
        """What a shell prints for a line, which must succeed."""
        done = subprocess.run(
            [*self.within, "sh", "-c", line], cwd=self.folder, env=self._environment(),
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def starts(self, name: str, line: str) -> None:
        """Leaves a line running in a shell, logged under a name; `exec` makes its program the one that is stopped."""
        with self._log(name).open("ab") as log:
            self.running[name] = subprocess.Popen(
                [*self.within, "sh", "-c", line],
                cwd=self.folder, env=self._environment(), stdout=log, stderr=log,
            )  # fmt: skip

    def on_terminal(self, line: str, terminal: int) -> "subprocess.Popen[bytes]":
        """Leaves a line running in a shell on that terminal of 80 columns."""
        return subprocess.Popen(
            [*self.within, "sh", "-c", line], cwd=self.folder, start_new_session=True,
            env=self._environment() | {"TERM": "xterm", "LINES": "24"},
            stdin=terminal, stdout=terminal, stderr=terminal,
        )  # fmt: skip

    def refuses(self, *command: str) -> str:
        """What a program of the environment says that has to end with 1."""
        done = self._run(command)
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stdout + done.stderr

    def _run(self, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        program, *words = command
        return subprocess.run(
            [*self.within, self.environment.program(program), *words],
            cwd=self.folder, env=self._environment(), capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    def said(self, name: str) -> str:
        return self._log(name).read_text()

    def until_it_says(self, name: str, text: str) -> None:
        def said() -> bool:
            assert self.running[name].poll() is None, self.said(name)
            return text in self.said(name)

        wait_until(said, START_SECONDS, f"{name} does not say {text!r}")

    def until_it_answers(self, path: str, port: int | None = None) -> None:
        def answers() -> bool:
            ended = [name for name, part in self.running.items() if part.poll()]
            assert not ended, "".join(map(self.said, ended))
            try:
                url = f"http://127.0.0.1:{port or self.port}{path}"
                return httpx.get(url, timeout=10).status_code in (200, 401)
            except httpx.HTTPError:
                return False

        wait_until(answers, START_SECONDS, f"nothing answers {path}")

    def call(self, key: str, path: str, body: object) -> Any:
        url, headers = f"http://127.0.0.1:{self.port}{path}", {"Authorization": f"Api-Key {key}"}
        if body is None:
            answer = httpx.get(url, headers=headers, timeout=130)
        else:
            answer = httpx.post(url, headers=headers, json=body, timeout=130)
        assert answer.status_code in (200, 201), answer.text
        return json.loads(answer.text)

    def result(self, key: str, submitted: Any) -> Any:
        """The status of a request once it is final."""
        path = f"/async_request/{submitted['request_id']}?wait=60"
        return self.call(key, path, None)["status"]

    def stop(self) -> dict[str, int]:
        """SIGTERM in the reverse order; the exit codes of what still ran."""
        codes: dict[str, int] = {}
        for name, part in reversed(self.running.items()):
            if part.poll() is None:
                part.terminate()
                codes[name] = part.wait(120)
        return codes

    def _environment(self) -> dict[str, str]:
        home = self.folder.parent / "home"
        home.mkdir(exist_ok=True)
        return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home)} | self.variables

    def _log(self, name: str) -> Path:
        return self.folder.parent / f"{name}.log"


def up(place: Place) -> str:
    """`kingpost up` with its own store; the key."""
    ports = ["--port", str(place.port), "--flower-port", str(free_port())]
    place.start("up", ["kingpost", "up", *ports])
    place.until_it_says("up", "Kingpost is ready")
    return (place.folder / ".kingpost" / "api_key").read_text().strip()

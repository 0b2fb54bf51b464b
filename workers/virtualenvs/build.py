"""Installs the requirements of a package into a new folder, with `uv` if it is installed, else with venv and pip."""

import contextlib
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deployments.packages.requirements import Requirements
from tasks.process.private_files import users_umask
from tasks.process.variables import inherited_variables
from workers.processes.lines import bounded_lines
from workers.processes.parent_death import die_with_parent_thread
from workers.processes.turns import ReplicaStops
from workers.virtualenvs.needs import CHECK

TAIL_LINES = 12  # of the installer's output, kept for the error
LOOK_EVERY = 0.2  # s, between looks whether the replica stops, while an installer is silent
NOT_FOR_OTHERS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")  # they would lead to our own packages

Say = Callable[[str], None]  # gets each line of progress


class VirtualenvFailed(Exception):
    """The virtualenv cannot be built. The last line of the text is the error, the lines before it are the installer's output."""


@dataclass(frozen=True)
class Build:
    """One build of a virtualenv."""

    folder: Path  # where it is made
    requirements: Requirements  # of the package
    needs: tuple[str, ...]  # of the model host: see needs.py
    code: Path  # the folder with links to the host's code
    python: str  # the interpreter
    seconds: float  # for all steps together
    stopping: threading.Event  # set when the replica stops

    def run(self, say: Say) -> str:
        """Builds the virtualenv and returns the installer's name. Raises VirtualenvFailed and ReplicaStops."""
        uv, folder = find_uv(), self.folder
        if self.requirements.kind == "uv_lock" and not uv:
            raise VirtualenvFailed("The virtualenv could not be built: uv.lock needs uv.")
        shutil.rmtree(folder, ignore_errors=True)
        ends = time.monotonic() + self.seconds
        folder.parent.mkdir(parents=True, exist_ok=True)
        python = str(folder / "bin" / "python")
        if uv:
            # Without pip in it: nobody would use it, and `--seed` asks an index for it.
            make = [uv, "venv", "--python", self.python, str(folder)]
            install = [uv, "pip", "install", "--python", python]
        else:
            make = [self.python, "-m", "venv", str(folder)]
            install = [python, "-m", "pip", "install", "--no-input", "--progress-bar", "off"]
        self._call("uv venv" if uv else "venv", make, say, ends)
        (folder / "tmp").mkdir()
        what = "uv pip install" if uv else "pip install"
        # Ours first: what the model pins may then replace it.
        self._call(what, [*install, *self.needs], say, ends)
        if self.requirements.content:
            self._call(what, [*install, *self._arguments(uv, say, ends)], say, ends)
        self._check(python, say, ends)
        shutil.rmtree(folder / "tmp", ignore_errors=True)
        return what

    def _arguments(self, uv: str | None, say: Say, ends: float) -> list[str]:
        """The arguments that name the package's requirements to the installer."""
        wanted, listed = self.requirements, self.folder / "requirements.txt"
        if wanted.file and (wanted.kind == "file" or (wanted.kind == "pyproject" and uv)):
            return ["-r", str(wanted.file)]
        if wanted.file and wanted.kind == "uv_lock" and uv:
            export = [uv, "export", "--frozen", "--no-emit-project", "--format", "requirements-txt"]
            export += ["--project", str(wanted.file.parent), "--output-file", str(listed)]
            self._call("uv export", export, say, ends)
        else:
            listed.write_text("".join(line + "\n" for line in wanted.pip_lines()))
        return ["-r", str(listed)]

    def _check(self, python: str, say: Say, ends: float) -> None:
        try:
            self._call("check", [python, "-P", "-c", CHECK, str(self.code)], say, ends)
        except VirtualenvFailed as error:
            output = str(error).splitlines()[:-1]
            sentence = "The model host cannot run with what these requirements pin"
            last = output[-1].strip() if output else "it does not import"
            raise VirtualenvFailed("\n".join([*output, f"{sentence}: {last}"])) from None

    def _call(self, what: str, command: list[str], say: Say, ends: float) -> None:
        """Runs one step until `ends` (monotonic). `what` names it in progress and errors."""
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        with _running(command, self.requirements.root, self._variables()) as (process, lines):
            while (line := _next(lines)) is not None:
                if self.stopping.is_set():
                    raise ReplicaStops
                if time.monotonic() > ends:
                    tail.append(f"The virtualenv was not built within {self.seconds:g} s.")
                    raise VirtualenvFailed("\n".join(tail))
                if line:
                    tail.append(line)
                    say(f"{what}: {line}")
            code = process.wait()
        if code != 0:
            reason = f" ({_reason(tail)})" if tail else ""
            tail.append(f"The virtualenv could not be built: {what} ended with {code}{reason}")
            raise VirtualenvFailed("\n".join(tail))

    def _variables(self) -> Mapping[str, str]:
        variables = {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "UV_NO_PROGRESS": "1"}
        temporary = self.folder / "tmp"
        if temporary.is_dir():  # large wheels do not fit every /tmp
            variables["TMPDIR"] = str(temporary)
        return clean_variables() | variables


def _reason(tail: Sequence[str]) -> str:
    """The error in the installer's output, in one line. uv writes it over several lines, pip marks it with ERROR."""
    lines = [re.sub(r"^[\s×╰─▶│├]+", "", line).strip() for line in tail]
    marked = [n for n, line in enumerate(tail) if re.match(r"\s*(×|error:|ERROR:)", line)]
    if not marked:
        return next((line for line in reversed(lines) if line), "it said nothing")
    rest = lines[marked[0] :]
    end = next((n for n, line in enumerate(rest) if n and not line), len(rest))
    return " ".join(rest[:end])


def clean_variables() -> dict[str, str]:
    """The variables of this process without NOT_FOR_OTHERS."""
    ours = inherited_variables()
    return {name: value for name, value in ours.items() if name not in NOT_FOR_OTHERS}


def find_uv() -> str | None:
    """The program `uv`: on the PATH, or beside our own interpreter."""
    path = f"{inherited_variables().get('PATH', '')}:{Path(sys.executable).parent}"
    return shutil.which("uv", path=path)


@contextlib.contextmanager
def _running(
    command: list[str], cwd: Path, env: Mapping[str, str]
) -> Generator[tuple[subprocess.Popen[bytes], "queue.Queue[str | None]"]]:
    """The running command and a queue of its lines of output, with None at the end. All that it started ends with it."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        umask=users_umask(),  # a custom server may run as another user
        preexec_fn=die_with_parent_thread,
    )
    lines: queue.Queue[str | None] = queue.Queue()

    def pump() -> None:
        assert process.stdout
        for line in bounded_lines(process.stdout):
            lines.put(line)
        lines.put(None)

    threading.Thread(target=pump, name="installer-log", daemon=True).start()
    try:
        yield process, lines
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _next(lines: "queue.Queue[str | None]") -> str | None:
    """The next line, "" if none came in time, None at the end."""
    try:
        return lines.get(timeout=LOOK_EVERY)
    except queue.Empty:
        return ""

"""A stack that lives as long as a block of code, for the demos: on free ports, in a temporary state folder, in a process of its own."""

import json
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cli.stack.ports import free_port
from cli.stack.start_failed import StartFailed
from tasks.process.programs import COMMAND
from tasks.process.variables import child_variables

START_SECONDS = 180.0  # for the stack to be ready
STOP_SECONDS = 90  # for the stack to drain and stop
POLL_SECONDS = 0.15


@dataclass(frozen=True)
class Running:
    """Where a stack answers."""

    url: str
    key_file: Path
    flower: str

    @property
    def key(self) -> str:
        """Its API key."""
        return self.key_file.read_text().strip()


def lacking(package: Path, does: str, needs: Sequence[str]) -> str:
    """Why the example in that folder cannot run here, before anything is started; '' if nothing is missing. `needs` are modules of the extra `models`."""
    if not package.is_dir():
        way = "run this in a clone of the repository, or name its folder of models with --models"
        return f"There is no folder {package}, whose model {does}; {way}."
    if missing := [name for name in needs if find_spec(name) is None]:
        way = "pip install 'kingpost[models]'"
        return f"The model {package.name} needs {' and '.join(missing)}: {way}."
    return ""


@contextmanager
def running(models: Path, needed: str) -> Generator[Running]:
    """Runs a stack with the packages in that folder until the block ends. Raises StartFailed, also if the model `needed` does not run."""
    with tempfile.TemporaryDirectory(prefix="kingpost-demo-") as folder:
        state = Path(folder)
        stack = _start(models, state)
        try:
            up = _wait_ready(stack, state)
            for entry in up["broken"]:
                if entry["name"] == needed:
                    raise StartFailed(f"The model {needed} is broken: {entry['reason']}")
            yield Running(up["api"], Path(up["api_key_file"]), up["flower"])
        finally:
            _stop(stack)


def _start(models: Path, state: Path) -> subprocess.Popen[bytes]:
    command = [*COMMAND, "up", "--models", str(models)]
    command += ["--state", str(state), "--port", str(free_port())]
    command += ["--flower-port", str(free_port())]
    with (state / "up.log").open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=child_variables(),
            start_new_session=True,
        )


def _wait_ready(stack: subprocess.Popen[bytes], state: Path) -> dict[str, Any]:
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends:
        if stack.poll() is not None:
            said = (state / "up.log").read_text().strip().splitlines()
            raise StartFailed(said[-1].removeprefix("kingpost: ") if said else "It did not start.")
        if (state / "up.json").exists():
            return json.loads((state / "up.json").read_text())
        time.sleep(POLL_SECONDS)
    raise StartFailed(f"The stack was not ready within {START_SECONDS:.0f} s.")


def _stop(stack: subprocess.Popen[bytes]) -> None:
    stack.send_signal(signal.SIGTERM)
    try:
        stack.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        stack.kill()
        raise StartFailed("The stack did not stop.") from None

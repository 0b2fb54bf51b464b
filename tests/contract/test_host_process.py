"""The model host as a worker's child: who follows one that dies."""

import os
import signal
import threading
from pathlib import Path

import pytest

from tasks.settings import Settings
from tests.conditions import wait_until
from tests.contract.host.running import write_package
from tests.processes import Process, ready_replicas, variables
from workers.hosting.process import HostProcess
from workers.hosting.sockets import HostSocket
from workers.processes.turns import Turns

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


def test_a_load_waits_for_its_turn_and_the_follower_of_a_host_that_served_does_not(
    settings: Settings, tmp_path: Path
) -> None:
    few = settings.model_copy(update={"node_loads": 1, "state_dir": tmp_path})
    host = HostProcess([HostSocket("echo", ECHO, str(tmp_path / "e.sock"))], few, lambda: None)
    try:
        with Turns.to_load(few).taken(threading.Event(), pytest.fail):  # another one loads
            host.start()
            wait_until(lambda: "turn" in (host.note or ""), 20)
            assert (host.pid, host.ready.is_set()) == (None, False)
        wait_until(host.ready.is_set, 60)
        assert host.pid
        with Turns.to_load(few).taken(threading.Event(), pytest.fail):  # a load that goes on
            os.kill(host.pid, signal.SIGKILL)
            wait_until(lambda: host.generation == 2 and host.ready.is_set(), 60)
    finally:
        host.stop()


def test_a_host_without_an_accelerator_sees_no_gpu_and_keeps_what_it_compiles(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    host = HostProcess(
        [HostSocket("echo", ECHO, str(tmp_path / "echo.sock"))], settings, lambda: None
    )
    host.start()
    try:
        wait_until(host.ready.is_set, 60)
        has = Path(f"/proc/{host.pid}/environ").read_text().split("\0")
        assert "CUDA_VISIBLE_DEVICES=" in has
        (triton,) = [said for said in has if said.startswith("TRITON_CACHE_DIR=")]
        assert triton.startswith(f"TRITON_CACHE_DIR={settings.state_dir.resolve()}/caches/")
    finally:
        host.stop()


def test_models_load_beside_each_other_in_a_state_folder_with_a_long_path(
    settings: Settings, tmp_path: Path
) -> None:
    long = settings.model_copy(update={"state_dir": tmp_path / ("long" * 30)})
    model = "class Model:\n    def predict(self, given): return given\n"
    replicas = [
        Process(
            ["replica", str(write_package(tmp_path / name, model, f"model_name: {name}"))],
            variables(long),
            tmp_path / f"{name}.log",
        ).start()
        for name in ("first", "second")
    ]
    try:
        assert {replica.model_name for replica in ready_replicas(long, 2)} == {"first", "second"}
    finally:
        for replica in replicas:
            replica.stop()


HANG = """
import threading

class Model:
    def load(self):
        threading.Event().wait()

    def predict(self, given): return given
"""


def test_a_load_that_outlasts_its_turn_goes_on_beside_the_next(
    settings: Settings, tmp_path: Path
) -> None:
    few = settings.model_copy(
        update={"node_loads": 1, "state_dir": tmp_path, "load_turn_seconds": 3.0}
    )
    package = write_package(tmp_path / "hang", HANG, "model_name: hang")
    hang, echo = (
        HostProcess([HostSocket(name, root, str(tmp_path / f"{name}.sock"))], few, lambda: None)
        for name, root in (("hang", package), ("echo", ECHO))
    )
    hang.start()
    try:
        wait_until(lambda: hang.pid, 20)
        first = hang.generation
        echo.start()
        wait_until(lambda: echo.note == "waits for its turn to load: hang is loading", 20)
        wait_until(echo.ready.is_set, 60)
        assert (hang.state, hang.generation) == ("loading", first)
        assert hang.load_began and not echo.load_began
        assert hang.note == "has been loading for longer than 3 s"
    finally:
        echo.stop()
        hang.stop()

"""A package in a folder that nobody may write to, without a data folder: a push and `up` take it and a host serves it."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kingpost.packing.gathering import gather
from tests.conditions import wait_until
from tests.contract.host.running import write_package
from workers.hosting import client as host_client
from workers.hosting.sockets import worker_address

MODEL = """
class Model:
    def __init__(self, data_dir): self.data_dir = data_dir
    def predict(self, given): return given
"""
TAKEN = """
import sys
from pathlib import Path
from cli.stack.found import find
from tasks.settings import Settings

found = find(Settings(), Path(sys.argv[1]), ())
print(len(found.packages), found.broken)
"""
# The superuser may write anywhere, unless it gives that right up.
AS_A_USER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
PREFIX = AS_A_USER if os.geteuid() == 0 else []


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Path]:
    folder = write_package(tmp_path / "package", MODEL)
    inside = [folder, folder / "model"]
    for path in inside:
        path.chmod(0o555)
    yield folder
    for path in inside:
        path.chmod(0o755)


def test_a_read_only_package_is_pushed_and_served(package: Path, tmp_path: Path) -> None:
    touch = subprocess.run([*PREFIX, "touch", str(package / "x")], capture_output=True)
    assert touch.returncode != 0  # it is read-only indeed
    assert len(gather(package, 1 << 20, tmp_path).files) == 2
    python = [*PREFIX, sys.executable, "-m"]
    look = [*python, "workers.dry_load", str(package)]
    done = subprocess.run(look, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    taken = subprocess.run(
        [*PREFIX, sys.executable, "-c", TAKEN, str(package.parent)], capture_output=True, text=True
    )
    assert (taken.stdout, taken.stderr) == ("1 []\n", "")
    with tempfile.TemporaryDirectory() as short:
        address = f"{short}/host.sock"
        serve = [*python, "workers.host.main", "--package", str(package), "--uds", address]
        host = subprocess.Popen([*serve, "--worker-uds", worker_address(address)])
        try:
            wait_until(lambda: _state(address) == "ready", 60, "it never got ready")
        finally:
            host.kill()
            host.wait()
    assert not (package / "data").exists()


def _state(address: str) -> str | None:
    said = host_client.state(worker_address(address))
    return said.state if said else None

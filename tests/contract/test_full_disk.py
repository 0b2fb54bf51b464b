"""A disk that fills up under `kingpost up`, and has space again."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conditions import wait_until
from tests.contract.test_up import Up

SIZE = "48m"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(mount, check=False).returncode:
        pytest.skip("a small disk has to be mounted, and this user may not do that")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(file: Path) -> None:
    """Until there is no room for another byte."""
    with file.open("wb", buffering=0) as filler:
        for piece in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    filler.write(b"x" * piece)
            except OSError:
                continue


@pytest.mark.slow
def test_the_stack_comes_back_when_a_full_disk_has_space_again(
    tmp_path: Path, small_disk: Path
) -> None:
    up = Up(tmp_path)
    up.state, up.log = small_disk / "state", small_disk / "up.log"  # its console fills up, too
    up.start("--no-flower").ready()
    try:
        filler = small_disk / "filler"
        fill(filler)
        killed = [up.pid(role) for role in ("valkey", "api", "maintenance", "node", "replica")]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in killed))
        said = up.up_json()
        assert not up.predicts()
        assert up.process and up.process.poll() is None
        filler.unlink()
        began = time.monotonic()
        wait_until(up.predicts, 30, "it does not serve again")
        print(f"It served again {time.monotonic() - began:.1f} s after there was space.")
        wait_until(
            lambda: (
                up.up_json() != said
                and None not in [up.pid(p["role"]) for p in up.up_json()["parts"]]
            ),
            10,
        )
        pids = [part["pid"] for part in up.up_json()["parts"]]
    finally:
        ended = up.stop()
    assert ended == 0, up.said()
    assert up.said().endswith("Ctrl-C again ends it now.\n")  # and no traceback of its own after it
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []

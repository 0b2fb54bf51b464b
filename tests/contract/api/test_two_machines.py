"""Two machines made of namespaces: the Unix socket is out of reach, the cable is real and can be cut."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

UNSHARE = ["unshare", "-rnm"]


def may_make_machines() -> bool:
    probe = 'mount -t tmpfs none /mnt && unshare -nm true && exec "$@"'
    command = [*UNSHARE, "sh", "-c", probe, "sh", sys.executable, "-m", "tests.contract.api.cable"]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


needs_namespaces = pytest.mark.skipif(
    not may_make_machines(), reason="namespaces and TUN devices need privileges"
)


def play(name: str, folder: Path) -> dict[str, Any]:
    """What that play of `two_machines` saw."""
    command = [*UNSHARE, sys.executable, "-m", "tests.contract.api.two_machines", name, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    saw = json.loads(done.stdout.splitlines()[-1])
    print(saw)
    return saw


@needs_namespaces
@pytest.mark.slow
def test_calls_cross_the_cable_and_move_to_the_other_machine_when_it_is_cut(tmp_path: Path) -> None:
    saw = play("cut", tmp_path)
    assert saw["machine"]  # one kernel
    assert not saw["socket_seen"]
    assert saw["first"] == [200, True]
    assert saw["moved"] == [200, "2"]  # the call that ran there when the cable was cut
    assert saw["moved_seconds"] < 30
    assert saw["others"] == [200]
    assert saw["others_seconds"] < 15


@pytest.mark.chaos
@needs_namespaces
@pytest.mark.parametrize(
    "way", ["dead", "apart"]
)  # apart: the store still reaches it, the API does not
def test_a_call_to_a_machine_that_has_just_been_lost_moves(way: str, tmp_path: Path) -> None:
    saw = play(way, tmp_path)
    assert saw["status"] == 200
    assert saw["moved_seconds"] < 60

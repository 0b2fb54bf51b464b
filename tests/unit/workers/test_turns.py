"""Turns: never more at once than allowed, the next one as soon as one ends, however it ends."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.conditions import wait_until
from workers.processes.turns import ReplicaStops, Turns

HOLD = """
import sys, threading
from pathlib import Path
from workers.processes.turns import Turns
with Turns(Path(sys.argv[1]), 1).taken(threading.Event(), lambda: None):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_no_more_than_so_many_at_once(tmp_path: Path) -> None:
    turns, never, go = Turns(tmp_path, 2), threading.Event(), threading.Event()
    inside: list[int] = []
    waiting: list[int] = []

    def work(number: int) -> None:
        with turns.taken(never, lambda: waiting.append(number)):
            inside.append(number)
            go.wait(20)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(inside) == 2 and len(waiting) == 2)
    assert sorted(inside + waiting) == [0, 1, 2, 3]
    go.set()
    for thread in threads:
        thread.join(20)
    assert sorted(inside) == [0, 1, 2, 3]


def test_a_process_that_is_killed_gives_its_turn_back(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout and holder.stdout.readline() == b"held\n"
    stopping, waited = threading.Event(), threading.Event()
    with pytest.raises(ReplicaStops), Turns(tmp_path, 1).taken(stopping, stopping.set):
        pass
    holder.kill()
    holder.communicate()
    with Turns(tmp_path, 1).taken(threading.Event(), waited.set):
        pass

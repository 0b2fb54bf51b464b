"""Turns: never more at once than allowed, the next one as soon as one ends, however it ends."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.conditions import wait_until
from workers.processes.turns import ReplicaStops, Turns, _lasted

HOLD = """
import sys, threading
from pathlib import Path
from workers.processes.turns import Turns
with Turns(Path(sys.argv[1]), 1, "hang").taken(threading.Event(), print):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_no_more_than_so_many_at_once(tmp_path: Path) -> None:
    turns, never, go = Turns(tmp_path, 2), threading.Event(), threading.Event()
    inside: list[int] = []
    waiting: list[int] = []

    def work(number: int) -> None:
        with turns.taken(never, lambda _: waiting.append(number)):
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
    stopping, said = threading.Event(), list[str]()

    def stop(at_work: str) -> None:
        said.append(at_work)
        stopping.set()

    with pytest.raises(ReplicaStops), Turns(tmp_path, 1).taken(stopping, stop):
        pass
    assert said == ["hang"]
    holder.kill()
    holder.communicate()
    with Turns(tmp_path, 1).taken(threading.Event(), said.append):
        pass


def test_a_turn_that_is_given_back_early_is_free_although_the_work_goes_on(tmp_path: Path) -> None:
    never = threading.Event()
    with Turns(tmp_path, 1, "long").taken(never, pytest.fail) as give_back:
        give_back()
        with Turns(tmp_path, 1, "next").taken(never, pytest.fail):
            pass


def test_those_that_go_first_get_the_next_turn_before_others_that_wait_for_longer(
    tmp_path: Path,
) -> None:
    never, order = threading.Event(), list[str]()
    waits = {"new": threading.Event(), "works": threading.Event()}

    def work(name: str) -> None:
        turns = Turns(tmp_path, 1, name, goes_first=name == "works")
        with turns.taken(never, lambda _: waits[name].set()):
            order.append(name)

    threads = {name: threading.Thread(target=work, args=(name,)) for name in waits}
    with Turns(tmp_path, 1, "hang").taken(never, pytest.fail):
        for name, thread in threads.items():
            thread.start()
            assert waits[name].wait(20)
    for thread in threads.values():
        thread.join(20)
    assert order == ["works", "new"]


def test_how_long_a_turn_has_lasted_is_said_in_steps() -> None:
    shown = [_lasted(seconds) for seconds in (3.0, 47.9, 119.0, 300.0)]
    assert shown == ["", " (for 40 s)", " (for 110 s)", " (for 5 min)"]

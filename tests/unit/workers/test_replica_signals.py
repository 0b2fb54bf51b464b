"""A signal that arrives inside the handler of another, or anywhere else, hangs nothing."""

import subprocess
import sys

import pytest

# Every lock that Celery's dispatch may hold in the main thread is held when the signal comes.
HELD = """
import contextlib, signal, sys
from queue import SimpleQueue
from celery import Celery, signals
from celery.utils.dispatch import Signal
from celery.worker import state
from workers.replica.signals import ReplicaCelery

worker = ReplicaCelery(Celery("here", broker="memory://"), pool="threads")
worker.drain_asked = SimpleQueue()
worker.install_platform_tweaks(worker)
signals.worker_shutting_down.connect(lambda **_: None, weak=False)
with contextlib.ExitStack() as held:
    for dispatch in vars(signals).values():
        if isinstance(dispatch, Signal):
            held.enter_context(dispatch.lock)
    for number in sys.argv[1:]:
        signal.raise_signal(signal.Signals[number])
print(state.should_stop, state.should_terminate, worker.drain_asked.qsize())
"""


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (["SIGTERM"], "0 None 1"),
        (["SIGTERM", "SIGTERM", "SIGTERM"], "0 None 3"),
        (["SIGINT"], "0 None 1"),
        (["SIGINT", "SIGINT"], "0 1 2"),
    ],
)
def test_a_handler_takes_no_lock(numbers: list[str], said: str) -> None:
    command = [sys.executable, "-c", HELD, *numbers]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == said, done.stderr

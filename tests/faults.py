"""Faults of a part that goes on after them."""

import contextlib
import itertools
import resource
import signal
from collections.abc import Generator
from pathlib import Path

from tests.valkey import Valkey


@contextlib.contextmanager
def stalled(valkey: Valkey) -> Generator[None]:
    """The server takes connections and answers nothing."""
    assert valkey.process
    valkey.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        valkey.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def descriptors_left(pid: int, count: int) -> Generator[None]:
    """As if the process could open so many more, counted as it counts them: from the lowest free number."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
    lowest = next(number for number in itertools.count() if number not in used)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest + count, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

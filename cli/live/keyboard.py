"""Single keys of the terminal, without Enter, for commands that draw until somebody has seen enough."""

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def single_keys() -> Generator[Callable[[bytes, float], bool]]:
    """Gives a call that waits for a key, for so many seconds at most, and answers whether it was pressed.

    Keys are not shown meanwhile. Ctrl-C interrupts as ever. If the input is no terminal, the call only waits.
    """
    if not sys.stdin.isatty():
        yield _only_waits
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield lambda key, seconds: _pressed(terminal, key, seconds)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _only_waits(_: bytes, seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _pressed(terminal: int, key: bytes, seconds: float) -> bool:
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            typed = os.read(terminal, 1024)
            if not typed or key in typed:  # nothing at all: the terminal has gone
                return True
    return False

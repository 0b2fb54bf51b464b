"""What connections without a key have sent is looked at one by one, in turns of the event loop.

Thousands that come at once would otherwise all be served in one turn, and nobody else, not even a health check, for
seconds. So new connections are accepted before any is served, health checks go ahead, and among the rest the newest
goes first: its client is the most likely one to wait still.
"""

import asyncio
from collections.abc import Callable
from time import thread_time

WHILE_ACCEPTING = 0.01  # s of our own work after which one is served though connections keep coming


class Turnstile:
    """Where they wait; one for each API process."""

    def __init__(self) -> None:
        self._ahead: list[Callable[[], None]] = []
        self._waiting: list[Callable[[], None]] = []
        self._accepting = self._turning = False
        self._served = 0.0

    def accepted(self) -> None:
        """A connection came: there may be more of them."""
        self._accepting = True

    def enter(self, step: Callable[[], None], ahead: bool) -> None:
        """Calls `step` in one of the next turns."""
        (self._ahead if ahead else self._waiting).append(step)
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        if self._ahead:
            loop.call_soon(self._ahead.pop())
        if self._waiting and self._may():
            loop.call_soon(self._waiting.pop())
        self._accepting, self._turning = False, bool(self._ahead or self._waiting)
        if self._turning:
            loop.call_soon(self._turn)

    def _may(self) -> bool:
        now = thread_time()
        if self._accepting and now - self._served < WHILE_ACCEPTING:
            return False
        self._served = now
        return True

"""Serves connections without a valid key one by one, so that the event loop can do other work in between.

Otherwise thousands of new connections would be served in one turn, and a health check would wait for seconds. So all new
connections are accepted before the first is served. Health checks go first, then the newest connection, because its client is
the most likely one to be still waiting.
"""

import asyncio
from collections.abc import Callable
from time import thread_time

# s of CPU time after which a connection is served even though new ones keep coming.
WHILE_ACCEPTING = 0.01


class Turnstile:
    """The waiting connections of one API process."""

    def __init__(self) -> None:
        self._ahead: list[Callable[[], None]] = []
        self._waiting: list[Callable[[], None]] = []
        self._accepting = self._turning = False
        self._last_served = 0.0

    def accepted(self) -> None:
        """Called when a connection was accepted. More may follow at once, so serving waits."""
        self._accepting = True

    def enter(self, step: Callable[[], None], ahead: bool) -> None:
        """Calls `step` in one of the next turns of the loop. Steps with `ahead` go first, whenever they come."""
        (self._ahead if ahead else self._waiting).append(step)
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        if self._ahead:
            loop.call_soon(self._ahead.pop())
        if self._waiting and self._may_serve():
            loop.call_soon(self._waiting.pop())
        self._accepting, self._turning = False, bool(self._ahead or self._waiting)
        if self._turning:
            loop.call_soon(self._turn)

    def _may_serve(self) -> bool:
        now = thread_time()
        if self._accepting and now - self._last_served < WHILE_ACCEPTING:
            return False
        self._last_served = now
        return True

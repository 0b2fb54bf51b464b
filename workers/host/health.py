"""Asks on schedule whether a model or a server is healthy, and remembers since when it is not."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

CHECK_EVERY = 5.0  # s; thresholds are 10 s or more
ANSWER_SECONDS = 10.0  # s; a check that takes longer has failed
QUICK_SECONDS = 2.0  # s; for how long a failed job waits for the answer


class Health:
    """One kind of check, `ask`, and its last result. At most one check runs at a time."""

    def __init__(self, ask: Callable[[], Awaitable[bool]]) -> None:
        self._ask = ask
        self._checking: asyncio.Task[bool] | None = None
        self._failing_since: float | None = None  # by the loop's clock

    @property
    def failing_ms(self) -> int:
        """For how many ms all checks have failed, at least 1; 0 if the last one succeeded."""
        if self._failing_since is None:
            return 0
        return max(1, round((asyncio.get_running_loop().time() - self._failing_since) * 1000))

    async def run(self) -> None:
        """Checks for ever."""
        while True:
            await self.check()
            await asyncio.sleep(CHECK_EVERY)

    async def check(self) -> bool:
        """Whether the check succeeds within ANSWER_SECONDS. If an earlier one still hangs, it waits for that one."""
        asked = asyncio.get_running_loop().time()
        try:
            healthy = await self._answer(ANSWER_SECONDS)
        except TimeoutError:
            healthy = False
        self._note(healthy, asked)
        return healthy

    async def is_failing(self) -> bool:
        """Whether the check fails now. If it takes longer than QUICK_SECONDS, the result of the one before it counts."""
        asked = asyncio.get_running_loop().time()
        with contextlib.suppress(TimeoutError):
            self._note(await self._answer(QUICK_SECONDS), asked)
        return self._failing_since is not None

    async def _answer(self, seconds: float) -> bool:
        """The answer of the check that runs, or of a new one. Raises TimeoutError; the check goes on then."""
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._run_ask())
        async with asyncio.timeout(seconds):
            return await asyncio.shield(self._checking)

    def _note(self, healthy: bool, asked: float) -> None:
        if healthy:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = asked

    async def _run_ask(self) -> bool:
        return await self._ask()  # in a coroutine, because create_task takes no other awaitable  # in a coroutine, because create_task takes no other awaitable

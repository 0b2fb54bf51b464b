"""Waiting for a condition instead of for a time."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

_PAUSE = threading.Event()  # never set: its wait() is the polling interval


def wait_until(condition: Callable[[], object], timeout: float = 10.0, message: str = "") -> None:
    """Returns as soon as the condition holds; AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    asked = time.monotonic()
    while not condition():
        now = time.monotonic()
        assert now < deadline, message or f"{condition} did not hold in {timeout} s"
        _PAUSE.wait(
            min(max(0.02, now - asked), 0.25)
        )  # what takes long to ask is not asked all the time
        asked = time.monotonic()


async def wait_until_async(
    condition: Callable[[], Awaitable[object]], timeout: float = 10.0, message: str = ""
) -> None:
    """The same for a condition that is awaited."""
    async with asyncio.timeout(timeout):
        while not await condition():
            await asyncio.to_thread(_PAUSE.wait, 0.02)


def lasts(seconds: float) -> None:
    """How long a fault or a part of a planned schedule lasts. Nothing may be expected of its end: for that there is `wait_until`."""
    _PAUSE.wait(seconds)

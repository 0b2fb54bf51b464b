"""The shared face of every long-lived asyncio loop: `run_once` does the work, this repeats it."""

import asyncio
import contextlib
from typing import Protocol

from tasks.errors import StoreUnavailable
from tasks.logs import get_logger

log = get_logger("loops")


class Loop(Protocol):
    """A part that works in rounds."""

    async def run_once(self) -> object:
        """One round, all the work there is; returns what was done."""
        ...


async def run_forever(loop: Loop, every: float, stop: asyncio.Event) -> None:
    """Repeats rounds `every` seconds until `stop`; a store that is away is waited out."""
    while not stop.is_set():
        try:
            await loop.run_once()
        except StoreUnavailable as error:
            log.warning("store.unavailable", loop=type(loop).__name__, error=str(error))
        await pause(stop, every)


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Waits, but not longer than until `stop`."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)

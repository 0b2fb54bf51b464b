"""A cache of values that are expensive to read. Callers that ask at the same moment share one read."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Cached values by key. An error is not cached; all waiting callers get it."""

    def __init__(
        self,
        read: Callable[[K], Awaitable[V]],
        seconds: float,
        most: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read, self._seconds, self._most = read, seconds, most
        self._monotonic = monotonic
        self._kept: dict[K, tuple[float, V]] = {}
        self._reading: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K) -> V:
        """The value, at most `seconds` old. Raises the errors of reading it."""
        kept = self._kept.get(key)
        if kept and self._monotonic() < kept[0]:
            return kept[1]
        reading = self._reading.get(key)
        if reading is None:
            reading = self._reading[key] = asyncio.create_task(self._fresh(key))
        return await asyncio.shield(reading)  # a caller that leaves does not end it for the others

    async def _fresh(self, key: K) -> V:
        try:
            value = await self._read(key)
        finally:
            del self._reading[key]
        self._kept.pop(key, None)  # so that the first one is the oldest
        while len(self._kept) >= self._most:  # strangers' guesses must not fill the memory
            del self._kept[next(iter(self._kept))]
        self._kept[key] = (self._monotonic() + self._seconds, value)
        return value

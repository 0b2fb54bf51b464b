"""Long-lived loops: `run_once` does the work of one round, and a `Guard` keeps the loop alive.

An exception ends only its round. Each cause is logged once with its frames. Failed rounds are counted, and the loop waits longer
after each failure in a row. The same guard serves coroutines and threads.
"""

import asyncio
import contextlib
import time
import traceback
from collections.abc import Awaitable, Callable, Generator, Iterable
from typing import Any, Protocol

from tasks.errors import StoreUnavailable
from tasks.process.logs import get_logger

log = get_logger("loops")

BACKOFF_FIRST, BACKOFF_LAST = 0.5, 30.0  # s, after a failed round and after many in a row
LOG_AGAIN = 600.0  # s, until a cause that goes on is logged once more, without its frames
MOST_CAUSES = 100  # that are remembered; then all are forgotten, so that memory stays bounded
CANCEL_AGAIN = 0.5  # s between two cancellations of a task that goes on
HEALTHY_SECONDS = 30.0  # after a round that ran so long, a failure counts as the first one again


class Loop(Protocol):
    """A part that works in rounds."""

    async def run_once(self) -> object:
        """Does all the work of one round and returns what was done."""
        ...


class Guard:
    """Guards the rounds of one loop, or of one object that a loop looks after."""

    def __init__(
        self,
        name: str,
        longest: float = BACKOFF_LAST,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.failed = 0  # rounds, in all
        self._longest = longest
        self._monotonic = monotonic
        self._in_a_row = 0
        self._not_before = 0.0
        self._logged: dict[str, float] = {}  # cause -> when
        self._told = False  # whether a failure was logged that is not over yet

    @property
    def delay(self) -> float:
        """Seconds to wait before the next round; 0 after a good round, or if only the store did not answer."""
        return max(self._not_before - self._monotonic(), 0.0)

    @property
    def due(self) -> bool:
        """Whether a round may run now."""
        return self._monotonic() >= self._not_before

    @contextlib.contextmanager
    def round(self) -> Generator[None]:
        """Runs one round. An exception is recorded and not raised."""
        began = self._monotonic()
        try:
            yield
        except StoreUnavailable as error:
            self._store_away(error)
        except Exception as error:  # the point of this class: no cause ends a loop
            self._failed(error, self._monotonic() - began)
        else:
            self._succeeded()

    @contextlib.contextmanager
    def part(self) -> Generator[None]:
        """Runs one part of a round. Other parts run even if it fails. Raises StoreUnavailable, which ends the whole round."""
        began = self._monotonic()
        try:
            yield
        except StoreUnavailable:
            raise
        except Exception as error:  # as in `round`
            self._failed(error, self._monotonic() - began)
        else:
            self._succeeded()

    def _store_away(self, error: StoreUnavailable) -> None:
        now = self._monotonic()
        if now - self._logged.get("store", -LOG_AGAIN) >= LOG_AGAIN:
            with _unless_full():
                log.warning("store.unavailable", loop=self.name, error=str(error))
            self._logged["store"], self._told = now, True

    def _failed(self, error: Exception, lasted: float) -> None:
        self.failed += 1
        self._in_a_row = 1 if lasted > HEALTHY_SECONDS else self._in_a_row + 1
        wait = min(BACKOFF_FIRST * 2 ** min(self._in_a_row - 1, 16), self._longest)
        now = self._monotonic()
        self._not_before = now + wait
        cause = _cause(error)
        before = self._logged.get(cause)
        if before is not None and now - before < LOG_AGAIN:
            return
        if len(self._logged) >= MOST_CAUSES:
            self._logged.clear()
        self._logged[cause], self._told = now, True
        frames = error if before is None else None
        with _unless_full():
            words, failed = repr(error), self.failed
            log.error("round.failed", loop=self.name, error=words, failed=failed, exc_info=frames)

    def _succeeded(self) -> None:
        if self._told:
            with _unless_full():
                log.info("round.recovered", loop=self.name, failed=self.failed)
        self._in_a_row, self._not_before, self._told = 0, 0.0, False


class Guards(dict[str, Guard]):
    """A guard for each object, created at its first use."""

    def __init__(
        self,
        kind: str,
        longest: float = BACKOFF_LAST,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._make: Callable[[str], Guard] = lambda key: Guard(f"{kind} {key}", longest, monotonic)

    def __missing__(self, key: str) -> Guard:
        self[key] = self._make(key)
        return self[key]


def _unless_full() -> contextlib.suppress:
    """Ignores errors of writing the log, because a full disk must not end the loop."""
    return contextlib.suppress(OSError, ValueError)


def _cause(error: Exception) -> str:
    """Identifies the cause by type and place, without the message, because messages often differ each time."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__} {where}"


async def run_forever(
    loop: Loop, every: float, stop: asyncio.Event, longest: float = BACKOFF_LAST
) -> None:
    """Repeats rounds `every` seconds until `stop`."""
    guard = Guard(type(loop).__name__, longest)
    while not stop.is_set():
        with guard.round():
            await loop.run_once()
        await pause(stop, max(every, guard.delay))


async def keep(name: str, work: Callable[[], Awaitable[object]]) -> None:
    """Runs endless work and runs it again if it raises. Returns when the work returns."""
    guard = Guard(name)
    while True:
        with guard.round():
            await work()
            return
        await asyncio.sleep(max(guard.delay, BACKOFF_FIRST))


async def end(running: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels these tasks until they have ended.

    One cancellation is not enough. Before Python 3.12, `asyncio.wait_for` loses a cancellation that comes in the same turn in
    which its result is ready, and the store's client uses it.
    """
    pending = set(running)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN)


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Waits for that time, or until `stop`."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)

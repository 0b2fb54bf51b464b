"""Dynamic batching: calls that arrive together run as one `predict_batch`. Each call gets its own outcome."""

import asyncio
from contextvars import Context
from dataclasses import dataclass
from typing import Any, cast

from deployments.packages.package import Batching
from workers.host.call.call import ModelCall
from workers.host.model.methods import Method
from workers.host.threads import in_thread

ONE_BY_ONE = Batching(max_batch_size=1, max_wait_ms=0)


@dataclass(frozen=True)
class _Item:
    inputs: Any
    outcome: asyncio.Future[Any]
    due: float  # when max_wait_ms is over, by the loop's clock


class Batcher:
    """Collects items. A batch runs when it is full, or `max_wait_ms` after its first item came.

    One batch runs at a time, as a model without predict_concurrency expects. Meanwhile the next one fills.
    """

    def __init__(self, method: Method, batching: Batching | None) -> None:
        self._method = method
        self._batching = batching or ONE_BY_ONE
        self._items: list[_Item] = []
        self._timer: asyncio.TimerHandle | None = None
        self._running: asyncio.Task[None] | None = None

    async def run(self, inputs: Any, call: ModelCall) -> Any:
        """The outcome for this item. Raises the item's exception. A call that is stopped before its batch runs is removed."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._batching.max_wait_ms / 1000
        item = _Item(inputs, loop.create_future(), due)
        self._items.append(item)
        self._start_or_wait()
        try:
            return await call.cancellable(item.outcome, "predict_batch")
        finally:
            if item in self._items:
                self._items.remove(item)

    def _start_or_wait(self) -> None:
        """Starts the next batch if it is time, else sets a timer for it."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._running or not self._items:
            return
        loop, size = asyncio.get_running_loop(), self._batching.max_batch_size
        if len(self._items) < size and self._items[0].due > loop.time():
            self._timer = loop.call_at(self._items[0].due, self._start_or_wait)
            return
        batch, self._items = self._items[:size], self._items[size:]
        # A batch belongs to no single request, so its logs carry no request id.
        self._running = loop.create_task(self._dispatch(batch), context=Context())

    async def _dispatch(self, items: list[_Item]) -> None:
        inputs = [item.inputs for item in items]
        function = self._method.function
        try:
            pending = function(inputs) if self._method.is_async else in_thread(function, inputs)
            outcomes = _checked(await pending, len(items))
        except (Exception, SystemExit) as error:  # the batch as a whole failed: so did every item
            outcomes: list[Any] = [error] * len(items)
        self._running = None
        self._start_or_wait()
        for item, outcome in zip(items, outcomes, strict=True):
            if not item.outcome.done():  # else stopped meanwhile
                _settle(item.outcome, outcome)


def _settle(future: asyncio.Future[Any], outcome: Any) -> None:
    if isinstance(outcome, StopIteration):  # a future cannot carry it
        outcome = RuntimeError("predict_batch returned StopIteration")
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _checked(outcomes: object, expected: int) -> list[Any]:
    if not isinstance(outcomes, list) or len(cast("list[Any]", outcomes)) != expected:
        got = f"{len(cast('list[Any]', outcomes))}" if isinstance(outcomes, list) else "no list"
        raise TypeError(f"`predict_batch` must return a list of {expected} outcomes, got {got}.")
    return cast("list[Any]", outcomes)

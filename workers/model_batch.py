"""Dynamic batching: calls that come together run as one `predict_batch`, each with its own outcome."""

import asyncio
from contextvars import Context
from dataclasses import dataclass
from typing import Any, cast

from deployments.package import Batching
from workers.host_call import Call
from workers.host_threads import in_thread
from workers.model_methods import Method

ONE_BY_ONE = Batching(max_batch_size=1, max_wait_ms=0)


@dataclass(frozen=True)
class _Item:
    inputs: Any
    outcome: asyncio.Future[Any]


class Batcher:
    """Collects items; a batch goes when it is full or `max_wait_ms` after its first item came."""

    def __init__(self, method: Method, batching: Batching | None) -> None:
        self._method = method
        self._batching = batching or ONE_BY_ONE
        self._items: list[_Item] = []
        self._timer: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, inputs: Any, call: Call) -> Any:
        """The outcome for this item. Raises its own exception; a stop before dispatch removes the item."""
        loop = asyncio.get_running_loop()
        item = _Item(inputs, loop.create_future())
        self._items.append(item)
        if len(self._items) >= self._batching.max_batch_size:
            self._flush()
        elif self._timer is None:
            self._timer = loop.call_later(self._batching.max_wait_ms / 1000, self._flush)
        try:
            return await call.cancellable(item.outcome, "predict_batch")
        finally:
            self._withdraw(item)

    def _withdraw(self, item: _Item) -> None:
        if item in self._items:
            self._items.remove(item)
        if not self._items and self._timer:
            self._timer.cancel()
            self._timer = None

    def _flush(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        items, self._items = self._items, []
        if items:
            # A batch belongs to no single request, so its logs carry no request id.
            task = asyncio.create_task(self._dispatch(items), context=Context())
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _dispatch(self, items: list[_Item]) -> None:
        inputs = [item.inputs for item in items]
        try:
            function = self._method.function
            pending = function(inputs) if self._method.is_async else in_thread(function, inputs)
            outcomes = _checked(await pending, len(items))
        except (Exception, SystemExit) as error:  # the batch as a whole failed: so did every item
            outcomes: list[Any] = [error] * len(items)
        for item, outcome in zip(items, outcomes, strict=True):
            if item.outcome.done():
                continue  # stopped meanwhile
            if isinstance(outcome, StopIteration):  # a future cannot carry it
                item.outcome.set_exception(RuntimeError("predict_batch returned StopIteration"))
            elif isinstance(outcome, BaseException):
                item.outcome.set_exception(outcome)
            else:
                item.outcome.set_result(outcome)


def _checked(outcomes: object, expected: int) -> list[Any]:
    if not isinstance(outcomes, list) or len(cast("list[Any]", outcomes)) != expected:
        got = f"{len(cast('list[Any]', outcomes))}" if isinstance(outcomes, list) else "no list"
        raise TypeError(f"`predict_batch` must return a list of {expected} outcomes, got {got}.")
    return cast("list[Any]", outcomes)

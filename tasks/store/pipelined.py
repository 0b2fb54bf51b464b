"""Sends all commands of one event-loop turn to Redis as one pipeline, over one connection."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import redis.asyncio

from tasks.store.records import Reply

Command = Sequence[bytes | str | int | float]
Waiting = list[tuple[Command, asyncio.Future[Reply]]]


class Pipelined:
    """Collects the commands of a turn. Every caller gets its own reply or error, and a single command does not wait for others."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._redis = client
        self.took: Callable[[float], object] = lambda _seconds: None  # told of each round trip
        self._waiting: Waiting = []
        self._sending: set[asyncio.Task[None]] = set()

    async def run(self, *command: bytes | str | int | float) -> Reply:
        """The reply. Raises the errors of the client library. A cancelled caller does not affect the others."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Reply] = loop.create_future()
        self._waiting.append((command, answer))
        if len(self._waiting) == 1:
            loop.call_soon(self._send)
        return await answer

    def _send(self) -> None:
        waiting = [entry for entry in self._waiting if not entry[1].done()]
        self._waiting = []
        if waiting:
            task = asyncio.create_task(self._deliver(waiting))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _deliver(self, waiting: Waiting) -> None:
        pipe = cast(Any, self._redis.pipeline(transaction=False))
        for command, _ in waiting:
            pipe.execute_command(*command)
        began = time.perf_counter()
        try:
            replies: list[Reply | Exception] = await pipe.execute(raise_on_error=False)
        except Exception as error:  # no reply at all: everybody's error
            replies = [error for _ in waiting]
        except asyncio.CancelledError:
            for _, answer in waiting:
                answer.cancel()
            raise
        self.took(time.perf_counter() - began)
        for (_, answer), reply in zip(waiting, replies, strict=True):
            if answer.done():  # its caller has left
                continue
            if isinstance(reply, Exception):
                answer.set_exception(reply)
            else:
                answer.set_result(reply)

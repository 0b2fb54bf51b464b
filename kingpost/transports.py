"""Carries out flows (see flow.py) with httpx: `Blocking` for the sync client, `Awaiting` for asyncio."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import aclosing
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

import httpx

from kingpost.flow import Conversation, Emit, Flow, Open, Pause, Read, Request, Retries, Send, Step

T = TypeVar("T")

CONNECT_SECONDS = 10.0
WRITE_SECONDS = 60.0  # how long sending may make no progress
POOL_SECONDS = 60.0  # how long a call waits while MOST_CONNECTIONS others are open
MOST_CONNECTIONS = (
    100  # of one client; a server allows a key KINGPOST_MAX_CONNECTIONS_PER_KEY, 1,000 by default
)


class Blocking:
    """Carries out flows and blocks meanwhile. `on_busy` hears of each wait for a busy server: why, and the seconds."""

    def __init__(
        self, http: httpx.Client, retries: int, on_busy: Callable[[str, float], None] | None = None
    ) -> None:
        self.http, self.retries, self._on_busy = http, retries, on_busy

    def run(self, flow: Flow[T]) -> T:
        """Carries out a flow to its end and returns its result; what it emits is dropped. Raises what the flow raises: an `errors.Error`, or that of a file that it reads."""
        talk = Conversation(flow)
        for _ in self.lead(talk):
            pass
        return talk.result

    def lead(self, talk: Conversation[Any]) -> Generator[Any]:
        """Carries out a flow to its end and yields what it emits. Raises what the flow raises: an `errors.Error`, or that of a file that it reads."""
        opened = _Opened()
        try:
            while (step := talk.step()) is not None:
                if isinstance(step, Emit):
                    yield step.value
                    talk.answer(None)
                    continue
                try:
                    talk.answer(self._carry_out(step, opened))
                except httpx.RequestError as error:
                    talk.fail(error)
        finally:
            talk.close()
            opened.close()

    def _carry_out(self, step: Step, opened: "_Opened") -> object:
        match step:
            case Send(request):
                return self.http.send(_http_request(self.http, request))
            case Open(request):
                opened.close()
                answer = self.http.send(_http_request(self.http, request), stream=True)
                opened.answer = answer
                if answer.is_success:
                    opened.chunks = answer.iter_bytes()
                else:
                    answer.read()
                return answer
            case Read():
                return next(opened.chunks, b"")
            case Pause(seconds, why):
                if why and self._on_busy:
                    self._on_busy(why, seconds)
                return time.sleep(seconds)
            case Retries():
                return self.retries


class _Opened:
    """The answer that a flow opened last, and its bytes that are still to be read."""

    answer: httpx.Response | None = None
    chunks: Iterator[bytes] = iter(())

    def close(self) -> None:
        if self.answer:
            self.answer.close()


class Awaiting:
    """Carries out flows in an event loop."""

    def __init__(self, http: httpx.AsyncClient, retries: int) -> None:
        self.http, self.retries = http, retries

    async def run(self, flow: Flow[T]) -> T:
        """Carries out a flow to its end and returns its result; what it emits is dropped. Raises what the flow raises: an `errors.Error`, or that of a file that it reads."""
        talk = Conversation(flow)
        async with aclosing(self.lead(talk)) as emitted:
            async for _ in emitted:
                pass
        return talk.result

    async def lead(self, talk: Conversation[Any]) -> AsyncGenerator[Any]:
        """Carries out a flow to its end and yields what it emits. Raises what the flow raises: an `errors.Error`, or that of a file that it reads."""
        opened = _AsyncOpened()
        try:
            while (step := talk.step()) is not None:
                if isinstance(step, Emit):
                    yield step.value
                    talk.answer(None)
                    continue
                try:
                    talk.answer(await self._carry_out(step, opened))
                except httpx.RequestError as error:
                    talk.fail(error)
        finally:
            talk.close()
            await opened.close()

    async def _carry_out(self, step: Step, opened: "_AsyncOpened") -> object:
        match step:
            case Send(request):
                return await self.http.send(_http_request(self.http, request))
            case Open(request):
                await opened.close()
                answer = await self.http.send(_http_request(self.http, request), stream=True)
                opened.answer = answer
                if answer.is_success:
                    opened.chunks = answer.aiter_bytes()
                else:
                    await answer.aread()
                return answer
            case Read():
                return await anext(opened.chunks, b"") if opened.chunks else b""
            case Pause(seconds):
                return await asyncio.sleep(seconds)
            case Retries():
                return self.retries


class _AsyncOpened:
    """The answer that a flow opened last, and its bytes that are still to be read."""

    answer: httpx.Response | None = None
    chunks: AsyncIterator[bytes] | None = None

    async def close(self) -> None:
        if self.answer:
            await self.answer.aclose()


def client_arguments(url: str, key: str) -> dict[str, Any]:
    """The arguments of an httpx client for that server."""
    headers = {"authorization": f"Api-Key {key}", "user-agent": f"kingpost-python/{_version()}"}
    limits = httpx.Limits(max_connections=MOST_CONNECTIONS, max_keepalive_connections=20)
    return {"base_url": url, "headers": headers, "limits": limits}


def _version() -> str:
    try:
        return version("kingpost")
    except PackageNotFoundError:  # a copy of the folder that nobody has installed
        return "0"


def _http_request(http: httpx.Client | httpx.AsyncClient, request: Request) -> httpx.Request:
    timeouts = httpx.Timeout(
        connect=CONNECT_SECONDS,
        read=request.read_seconds,
        write=WRITE_SECONDS,
        pool=POOL_SECONDS,
    )
    headers = dict(request.headers)
    return http.build_request(
        request.method,
        request.path,
        params=request.params or None,
        headers=headers,
        content=request.content,
        timeout=timeouts,
    )

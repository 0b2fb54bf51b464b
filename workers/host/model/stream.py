"""Reads the chunks of a streaming model, from any kind of generator."""

import asyncio
import contextlib
import inspect
import json
import threading
from collections.abc import AsyncGenerator, Generator
from typing import Any, cast

from tasks.outside_text import text_of, utf8, utf8_bytes
from workers.host.call.call import ModelCall
from workers.host.threads import in_thread

END = object()  # what `next` returns after the last chunk


class StreamGap(Exception):
    """The model yielded nothing for longer than `streaming_read_timeout`."""


class OddChunk(TypeError):
    """The model yielded something that is neither str nor bytes."""


def is_generator(result: object) -> bool:
    """True for a generator object, async or not."""
    return inspect.isgenerator(result) or inspect.isasyncgen(result)


def asks_stream(value: object, body: bytes) -> bool:
    """Whether a /v1 body has `"stream": true`. Its client then reads a stream, whatever its Accept header says.

    Anthropic's clients and others accept JSON in every call, and only the body tells. `value` is the parsed body, if there is one.
    """
    if value is None:
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(body)
    if isinstance(value, dict):
        return cast("dict[str, object]", value).get("stream") is True
    return getattr(value, "stream", None) is True


class ChunkStream:
    """Reads chunks one by one. If the call is stopped, it closes the generator."""

    def __init__(self, generator: object, call: ModelCall, max_gap_seconds: float) -> None:
        self._generator = generator
        self._call = call
        self._max_gap = max_gap_seconds
        # A generator cannot be closed while it runs, and after a timeout its thread may still run it.
        self._in_use = threading.Lock()

    async def next(self) -> Any:
        """The next chunk, or END. Raises the generator's error, ClientGone, or StreamGap."""
        limit = asyncio.timeout(self._max_gap)
        try:
            async with limit:
                if inspect.isasyncgen(self._generator):
                    pulled = anext(cast("AsyncGenerator[Any, None]", self._generator), END)
                    return await self._call.cancellable(pulled, "streaming", with_grace=True)
                self._call.raise_if_stopped("streaming")
                return await in_thread(self._next_in_thread)
        except TimeoutError:
            if limit.expired():
                raise StreamGap(f"The model yielded nothing for {self._max_gap:g} s.") from None
            raise  # the generator's own

    async def close(self) -> None:
        """Runs the generator's finally blocks and raises their exceptions. It may be called after the end."""
        if inspect.isasyncgen(self._generator):
            generator = cast("AsyncGenerator[Any, None]", self._generator)
            if self._call.stopped.is_set():
                await self._let_clean_up(generator)
            await generator.aclose()
        else:
            await in_thread(self._close_in_thread)

    async def _let_clean_up(self, generator: AsyncGenerator[Any, None]) -> None:
        """Lets a stopped generator see the stop and clean up. Its further chunks are dropped."""
        ends = self._call.cancel_at
        if asyncio.get_running_loop().time() >= ends:
            return
        limit = asyncio.timeout_at(ends)
        try:
            async with limit:
                async for _ in generator:
                    await asyncio.sleep(0)  # it may never wait by itself
        except TimeoutError:
            if not limit.expired():
                raise

    def _next_in_thread(self) -> Any:
        with self._in_use:
            return next(cast("Generator[Any, None, None]", self._generator), END)

    def _close_in_thread(self) -> None:
        with self._in_use:
            cast("Generator[Any, None, None]", self._generator).close()

    async def gather(self) -> str:
        """All chunks as one text. Bytes are joined before they are decoded, other values become str. The text is always valid UTF-8."""
        chunks: list[bytes] = []
        while (chunk := await self.next()) is not END:
            chunks.append(
                bytes(chunk) if isinstance(chunk, (bytes, bytearray)) else utf8(str(chunk)).encode()
            )
        return text_of(b"".join(chunks))


def chunk_bytes(chunk: Any) -> bytes:
    """The bytes of a chunk for the client. Raises OddChunk for anything but str and bytes."""
    if isinstance(chunk, str):
        return utf8_bytes(chunk)
    if isinstance(chunk, (bytes, memoryview)):
        return bytes(chunk)
    raise OddChunk(f"A stream yields str or bytes, not {type(chunk).__name__}.")

"""A model that streams as fast as it may: 16 bytes a chunk, as a token with its envelope would be."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

CHUNK = b"data: token 12\n\n"


class Model:
    """Input {"chunks": N, "every_ms"?: T, "timed"?: whether each chunk is the time at which it was made}."""

    async def predict(self, model_input: Any) -> AsyncGenerator[bytes, None]:
        if model_input.get("timed"):
            return self._timed(model_input["chunks"], model_input["every_ms"] / 1000)
        return self._stream(model_input["chunks"], model_input.get("every_ms", 0) / 1000)

    async def _timed(self, chunks: int, pause: float) -> AsyncGenerator[bytes, None]:
        due = time.monotonic()
        for _ in range(chunks):
            yield b"%15.6f\n" % time.monotonic()
            due += pause  # a pace, not a pause: what a chunk costs makes no stream slower
            await asyncio.sleep(due - time.monotonic())

    async def _stream(self, chunks: int, pause: float) -> AsyncGenerator[bytes, None]:
        for _ in range(chunks):
            yield CHUNK
            await asyncio.sleep(pause)

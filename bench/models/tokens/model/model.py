"""A model that streams as fast as it may: 16 bytes a chunk, as a token with its envelope would be."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

CHUNK = b"data: token 12\n\n"


class Model:
    """Input {"chunks": N, "every_ms"?: T}."""

    async def predict(self, model_input: Any) -> AsyncGenerator[bytes, None]:
        return self._stream(model_input["chunks"], model_input.get("every_ms", 0) / 1000)

    async def _stream(self, chunks: int, pause: float) -> AsyncGenerator[bytes, None]:
        for _ in range(chunks):
            yield CHUNK
            await asyncio.sleep(pause)

"""So many streams of a chat at once, and what their readers see."""

import asyncio
import json
import statistics
import time
from dataclasses import dataclass

import httpx

PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Streamed:
    """Tokens a second of all streams together, and the median time to the first token of each."""

    per_second: float
    first_ms: float

    @property
    def said(self) -> str:
        """As a row of the table says it."""
        return f"{self.per_second:.0f} tokens/s, first after {self.first_ms:.0f} ms"


def streamed(target: str, path: str, key: str, count: int, tokens: int) -> Streamed:
    """Streams that many tokens so many times at once. `target` is a URL, or `unix:PATH`."""
    return asyncio.run(_all(target, path, key, count, tokens))


async def _all(target: str, path: str, key: str, count: int, tokens: int) -> Streamed:
    is_socket = target.startswith("unix:")
    transport = httpx.AsyncHTTPTransport(uds=target[5:]) if is_socket else None
    limits = httpx.Limits(max_connections=count)
    async with httpx.AsyncClient(
        base_url="http://host" if is_socket else target,
        transport=transport,
        limits=limits,
        timeout=PATIENCE_SECONDS,
        headers={"authorization": f"Api-Key {key}"} if key else {},
    ) as http:
        body = {"model": "llm", "messages": [], "stream": True, "max_tokens": tokens}

        async def stream() -> float:
            began, first, seen = time.perf_counter(), 0.0, 0
            async with http.stream("POST", path, json=body) as answer:
                assert answer.is_success, f"{answer.status_code}: {(await answer.aread())[:300]!r}"
                async for line in answer.aiter_lines():
                    if line.startswith("data: {"):
                        assert "choices" in json.loads(line[6:]), line
                        first = first or time.perf_counter() - began
                        seen += 1
            assert seen == tokens, f"{seen} of {tokens} tokens came"
            return 1000 * first

        began = time.perf_counter()
        firsts = await asyncio.gather(*(stream() for _ in range(count)))
        seconds = time.perf_counter() - began
    return Streamed(count * tokens / seconds, statistics.median(firsts))

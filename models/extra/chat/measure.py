"""Tokens a second and the time to the first token: `python models/extra/chat/measure.py [--url URL --key KEY]`, after fetch.py.

Without a server the model runs in this process. With one, rounds of the model here and through the server take turns, so that both
see the same machine; the model of the server and the one here never work at the same time.
"""

import argparse
import asyncio
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import torch

HERE = Path(__file__).parent
QUESTION = [{"role": "user", "content": "Explain what a message queue is good for, with examples."}]
ASKED = {"model": "chat", "messages": QUESTION, "temperature": 0, "stream": True, "max_tokens": 32}
Source = Callable[[], AsyncIterator[str]]


def loaded() -> Any:
    """The model of this folder."""
    sys.path.insert(0, str(HERE / "packages"))
    spec = importlib.util.spec_from_file_location("chat_model", HERE / "model" / "model.py")
    assert spec
    assert spec.loader
    module = sys.modules["chat_model"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.Model(data_dir=HERE / "data")
    model.load()
    return model


async def timed(source: Source) -> tuple[float, float]:
    """The time to the first token in ms, and the tokens a second after it."""
    began, times = time.perf_counter(), list[float]()
    async for event in source():
        data = event.removeprefix("data: ").strip()
        if data.startswith("{") and (choices := json.loads(data)["choices"]):
            times += [time.perf_counter()] if choices[0]["delta"].get("content") else []
    return 1000 * (times[0] - began), (len(times) - 1) / (times[-1] - times[0])


async def compare(rounds: int, url: str, key: str) -> None:
    """Prints the medians, and the highest and lowest, of each way."""
    model = loaded()
    async with httpx.AsyncClient(base_url=url, timeout=300) as http:
        headers = {"authorization": f"Api-Key {key}"}

        async def direct() -> AsyncIterator[str]:
            async for event in await model.chat_completions(ASKED):
                yield event

        async def through() -> AsyncIterator[str]:
            call = http.stream("POST", "/v1/chat/completions", json=ASKED, headers=headers)
            async with call as answer:
                async for line in answer.aiter_lines():
                    yield line

        ways: dict[str, Source] = {"direct": direct, **({"Kingpost": through} if url else {})}
        for source in ways.values():
            await timed(source)  # warm
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for turn in range(rounds):
            for name in list(ways)[:: -1 if turn % 2 else 1]:
                found[name].append(await timed(ways[name]))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {rounds} rounds")
    for name, pairs in found.items():
        first, speed = (statistics.median(column) for column in zip(*pairs, strict=True))
        least, most = min(pair[1] for pair in pairs), max(pair[1] for pair in pairs)
        print(f"{name:9} first token {first:6.0f} ms, {speed:5.1f} tokens/s ({least:.1f} to {most:.1f})")  # fmt: skip
    if url:
        shares = [b[1] / a[1] for a, b in zip(found["direct"], found["Kingpost"], strict=True)]
        added = [b[0] - a[0] for a, b in zip(found["direct"], found["Kingpost"], strict=True)]
        print(f"Kingpost / direct: {statistics.median(shares):.2f}; to the first token {statistics.median(added):+.1f} ms")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--url", default="")
    parser.add_argument("--key", default="")
    options = parser.parse_args()
    asyncio.run(compare(options.rounds, options.url, options.key))

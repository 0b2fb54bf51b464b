"""What crowds cost a good client: `python -m bench.extra.crowds`, about two minutes.

500 sockets that send a byte now and then beside one client that asks for a status (p99, alternating rounds), and
the API's CPU time while 200 viewers watch the events of a request that does not change.
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from cli.stack.ports import is_free
from tests.chaos.stack import API_KEY, Stack
from tests.conditions import wait_until

SLOW = 500
VIEWERS = 200
ROUNDS = 5
ASKED = 400  # status calls in a round
WATCHED = 30.0  # s; a viewer gets a comment every 15


async def p99_ms(session: aiohttp.ClientSession, url: str) -> float:
    """The 99th percentile of status calls, one after the other."""
    took: list[float] = []
    for _ in range(ASKED):
        began = time.perf_counter()
        async with session.get(url) as answer:
            await answer.read()
            assert answer.status == 200
        took.append((time.perf_counter() - began) * 1000)
    return statistics.quantiles(took, n=100)[98]


@asynccontextmanager
async def slow_sockets(port: int) -> AsyncIterator[None]:
    """The slow clients, in a process of their own."""
    command = [sys.executable, "-m", "bench.tools.slow_sockets", str(port), str(SLOW)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    await process.stdout.readline()
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def viewers_cpu(session: aiohttp.ClientSession, url: str, pid: int) -> tuple[float, float]:
    """Shares of a core that the API uses with nobody, and with 200 watching."""
    shares: list[float] = []
    for count in (0, VIEWERS):
        streams = [await session.get(url + "/events") for _ in range(count)]
        for stream in streams:
            assert b"event: status" in await stream.content.readuntil(b"\n\n")
        began, used = time.monotonic(), cpu_seconds(pid)
        await asyncio.sleep(WATCHED)
        shares.append((cpu_seconds(pid) - used) / (time.monotonic() - began))
        for stream in streams:
            stream.close()
    return shares[0], shares[1]


async def main(stack: Stack) -> None:
    """Both measures on one stack."""
    headers = {"Authorization": f"Api-Key {API_KEY}"}
    port = stack.api_ports[0]
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        f"http://127.0.0.1:{port}", headers=headers, connector=connector
    ) as session:
        body = json.dumps({"model_input": {"n": 1, "ms": 120_000}})
        async with session.post("/production/async_predict", data=body) as answer:
            url = f"/async_request/{(await answer.json())['request_id']}"
        alone: list[float] = []
        beside: list[float] = []
        await p99_ms(session, url)
        for _ in range(ROUNDS):
            alone.append(await p99_ms(session, url))
            async with slow_sockets(port):
                beside.append(await p99_ms(session, url))
        ratios = sorted(b / a for a, b in zip(alone, beside, strict=True))
        print(f"status p99: {statistics.median(alone):.2f} ms alone, "
              f"{statistics.median(beside):.2f} ms beside {SLOW} slow sockets; "
              f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})")  # fmt: skip
        idle, watched = await viewers_cpu(session, url, stack.parts["api0"].pid)
        print(f"API CPU: {idle:.1%} of a core with no viewer, {watched:.1%} with {VIEWERS}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="kpbench") as folder:
        running = Stack(Path(folder), fsync="everysec", replicas=1).start()
        try:
            port = running.api_ports[0]
            wait_until(lambda: not is_free("127.0.0.1", port), 30, "the API does not listen")
            asyncio.run(main(running))
        finally:
            running.stop()

"""A batch by OpenAI's client while parts are killed: `python -m bench.extra.batch [--lines 100000] [--kills 20]`. AOF always.

Maintenance, the API, the replica and Valkey are killed in turn, each so many times, and started again. It fails unless each line has exactly one
result. It prints lines a second, the memory of each part at its highest, and the latency of sync calls beside the batch and without it.
"""

import argparse
import contextlib
import json
import statistics
import threading
import time
from collections.abc import Callable, Generator
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import openai

from bench.tools.stack import API_KEY, AUTHORIZED, MODELS, Stack
from tests.conditions import wait_until
from tests.processes import Process
from tests.valkey import Valkey

VECTORS = MODELS / "vectors"
ENDED = ("completed", "failed", "expired", "cancelled")
CALLS_A_SECOND = 10.0  # sync calls
ALONE_SECONDS = 10.0  # of sync calls without a batch
MIB = 1 << 20


def line(number: int) -> str:
    """A line of the file: half a kilobyte."""
    body = {"model": "vectors", "input": str(number), "user": "x" * 400}
    request = {"custom_id": f"line {number}", "method": "POST", "url": "/v1/embeddings"}
    return json.dumps({**request, "body": body})


class Caller:
    """Sync calls at a steady pace, in a thread. A call that fails while a part is down is not counted."""

    def __init__(self, url: str) -> None:
        self.times: list[float] = []
        self._url = url
        self._stop = threading.Event()

    @contextlib.contextmanager
    def calling(self) -> Generator[None]:
        """Calls while the block runs."""
        self.times.clear()
        self._stop.clear()
        thread = threading.Thread(target=self._run)
        thread.start()
        yield
        self._stop.set()
        thread.join()

    def _run(self) -> None:
        asked = {"model": "vectors", "input": "1"}
        with httpx.Client(base_url=self._url, headers=AUTHORIZED, timeout=30) as http:
            while not self._stop.wait(1 / CALLS_A_SECOND):
                began = time.perf_counter()
                with contextlib.suppress(httpx.HTTPError):
                    if http.post("/v1/embeddings", json=asked).is_success:
                        self.times.append(1000 * (time.perf_counter() - began))

    @property
    def said(self) -> str:
        """The latencies in ms."""
        if len(self.times) < 2:
            return "none"
        cuts = statistics.quantiles(self.times, n=100)
        return f"p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms of {len(self.times)}"


def resident(pid: int) -> int:
    """The highest resident memory that a process has had, in MiB."""
    with contextlib.suppress(OSError):
        for row in Path(f"/proc/{pid}/status").read_text().splitlines():
            if row.startswith("VmHWM"):
                return int(row.split()[1]) // 1024
    return 0


class Killer:
    """Kills parts in turn and starts them again, and knows the highest memory of each."""

    def __init__(self, parts: dict[str, Process | Valkey]) -> None:
        self.parts = parts
        self.highest = dict.fromkeys(parts, 0)
        self._turns = cycle(parts)

    def look(self) -> None:
        """Notes the memory of all parts."""
        for name, part in self.parts.items():
            process = part.process if isinstance(part, Valkey) else part.popen
            self.highest[name] = max(self.highest[name], resident(process.pid if process else 0))

    def kill(self) -> None:
        """Kills the next part and starts it again."""
        part = self.parts[next(self._turns)]
        part.kill()
        part.start()


def run(lines: int, kills: int, alone_seconds: float = ALONE_SECONDS) -> None:
    """The whole bench; `kills` is of each part. Raises AssertionError if a line has not exactly one result."""
    with Stack("always") as stack:
        target = stack.api()
        stack.maintenance()
        stack.replica(VECTORS)
        api, maintenance, replica = stack.parts()
        killer = Killer(
            {"maintenance": maintenance, "api": api, "replica": replica, "valkey": stack.valkey}
        )
        caller = Caller(f"http://{target}")
        with caller.calling():
            time.sleep(alone_seconds)
        print(f"sync calls alone: {caller.said}", flush=True)
        with caller.calling():
            done(
                openai.OpenAI(api_key=API_KEY, base_url=f"http://{target}/v1"), lines, kills, killer
            )
        print(f"sync calls beside the batch: {caller.said}")
        print(
            "memory at its highest, MiB: "
            + ", ".join(f"{n} {m}" for n, m in killer.highest.items())
        )


def done(client: openai.OpenAI, lines: int, kills: int, killer: Killer) -> None:
    """Runs the batch with its kills, and checks its results."""
    content = "\n".join(map(line, range(lines))).encode()
    began = time.monotonic()
    file = client.files.create(file=("lines.jsonl", content), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h"
    )
    print(f"{lines} lines, {len(content) / MIB:.0f} MiB, sent in {time.monotonic() - began:.1f} s")

    def stand() -> Any:
        killer.look()
        return client.batches.retrieve(batch.id)

    kills *= len(killer.parts)
    for number in range(kills):
        least = lines * number // (kills + 1)
        wait_until(until(stand, lambda at, n=least: at.request_counts.completed >= n), 3600)
        killer.kill()
        print(
            f"kill {number + 1} of {kills}, after {least} lines and {time.monotonic() - began:.0f} s",
            flush=True,
        )
    wait_until(until(stand, lambda at: at.status in ENDED), 36_000)
    took, ended = time.monotonic() - began, stand()
    counts = ended.request_counts
    print(
        f"{ended.status}: {counts} in {took:.0f} s, {lines / took:.0f} lines/s, {kills} kills in all"
    )
    texts = client.files.content(ended.output_file_id).text.splitlines()
    said = {int(found["response"]["body"]["data"][0]["embedding"][0]): found["custom_id"] for found in map(json.loads, texts)}  # fmt: skip
    assert len(texts) == lines, f"{len(texts)} results"
    assert said == {number: f"line {number}" for number in range(lines)}, "a line has no result"


def until(stand: Callable[[], Any], is_so: Callable[[Any], bool]) -> Callable[[], bool]:
    """A condition that is not met while the API is down."""

    def met() -> bool:
        try:
            return is_so(stand())
        except openai.APIError:
            return False

    return met


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=20, help="of each part")
    options = parser.parse_args()
    run(options.lines, options.kills)

"""A load generator: `python -m bench.tools.load` reads one order as JSON from stdin and prints what it measured as JSON.

Closed loop: every connection sends its next call when it has its answer. Open loop (`rate` > 0): calls are due at
fixed times, and a call's latency counts from the moment it was due, however late it could be sent.
"""

import asyncio
import itertools
import json
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import cast

import httptools
import uvloop

ROOT = Path(__file__).parents[2]
SPARE_SECONDS = 30.0  # for start and end of the process, beyond what the order says


@dataclass(frozen=True)
class Order:
    """What to send where. `calls` are (method, path, body), taken in turn."""

    target: str  # host:port, or unix:PATH
    calls: list[tuple[str, str, str]]
    headers: dict[str, str] = field(default_factory=dict[str, str])
    connections: int = 32
    seconds: float = 3.0
    warm_seconds: float = 0.5
    rate: float = 0.0  # calls a second, 0 = closed loop
    most: int = 0  # calls at most, 0 = until the time is over
    expect: int = 200
    timed: bool = False  # whether each line of a body is the time at which it was made, by the clock of the machine

    def rendered(self) -> list[bytes]:
        """Every call as the bytes on the wire."""
        host = "host" if self.target.startswith("unix:") else self.target
        fixed = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        rendered: list[bytes] = []
        for method, path, body in self.calls:
            head = f"{method} {path} HTTP/1.1\r\nhost: {host}\r\n{fixed}"
            if body:
                head += (
                    f"content-type: application/json\r\ncontent-length: {len(body.encode())}\r\n"
                )
            rendered.append(f"{head}\r\n{body}".encode())
        return rendered


@dataclass(frozen=True)
class Measured:
    """What came of an order, warm-up not counted; milliseconds from when a call was due."""

    answers: int
    errors: int
    seconds: float
    per_second: float
    p50: float
    p99: float
    first_p50: float  # to the first byte of a body
    first_p99: float
    bytes_per_second: float
    late_p50: float = float("nan")  # of timed lines, from when they were made
    late_p99: float = float("nan")


def drive(order: Order) -> Measured:
    """Runs the order in a process of its own. Raises on any error: a wrong answer is no measurement."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.tools.load"],
        input=json.dumps(asdict(order)),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=order.warm_seconds + order.seconds + SPARE_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"The load generator failed on {order.target}: {done.stderr[-2000:]}")
    return Measured(**json.loads(done.stdout))


def percentile(values: list[float], share: float) -> float:
    """The value below which that share lies; nan for no values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


class _Load:
    """One order while it runs."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self._wire: Iterator[bytes] = itertools.cycle(order.rendered())
        self._idle: deque[_Connection] = deque()
        self._due: deque[float] = deque()
        self._sent = 0
        self.latencies: list[float] = []
        self.firsts: list[float] = []
        self.lates: list[float] = []
        self.received = 0
        self.last = 0.0
        self.wrong: dict[str, int] = {}
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> Measured:
        """Connects, warms up, measures."""
        connections = [await self._connect() for _ in range(self.order.connections)]
        began = monotonic()
        self.from_, self.until = began + self.order.warm_seconds, began + self.order.warm_seconds
        self.until += self.order.seconds
        asyncio.get_running_loop().call_later(self.until - began, self._end)
        if self.order.rate:
            self._idle.extend(connections)
            self._schedule(began, 0)
        else:
            for connection in connections:
                self.next(connection)
        await self.ended
        for connection in connections:
            connection.transport.abort()
        return self._measured()

    async def _connect(self) -> "_Connection":
        loop, target = asyncio.get_running_loop(), self.order.target
        if target.startswith("unix:"):
            made = loop.create_unix_connection(lambda: _Connection(self), target[5:])
        else:
            host, port = target.rsplit(":", 1)
            made = loop.create_connection(lambda: _Connection(self), host, int(port))
        _, connection = await made
        return connection

    def _schedule(self, began: float, number: int) -> None:
        """Sends or queues whatever is due by now, and comes back for the next."""
        now = monotonic()
        while (due := began + number / self.order.rate) <= now:
            self._due.append(due)
            number += 1
        while self._due and self._idle:
            self._send(self._idle.popleft(), self._due.popleft())
        if not self.ended.done():
            wait = max(0.0, due - monotonic())
            asyncio.get_running_loop().call_later(wait, self._schedule, began, number)

    def next(self, connection: "_Connection") -> None:
        """What a connection does that has nothing to do."""
        if self.ended.done():
            return
        if self.order.rate and not self._due:
            self._idle.append(connection)
        elif self.order.rate:
            self._send(connection, self._due.popleft())
        else:
            self._send(connection, monotonic())

    def _send(self, connection: "_Connection", due: float) -> None:
        if self.order.most and self._sent >= self.order.most:
            return
        self._sent += 1
        connection.send(next(self._wire), due)

    def answered(self, connection: "_Connection", status: int) -> None:
        """Counts an answer, and goes on."""
        now = monotonic()
        if status != self.order.expect:
            self.complain(f"status {status}")
        elif self.from_ <= now <= self.until:
            self.latencies.append((now - connection.due) * 1000)
            self.firsts.append(((connection.first or now) - connection.due) * 1000)
            self.last = now
        connection.answers += 1
        if self.order.most and self._sent >= self.order.most and self._all_back():
            self._end()
        self.next(connection)

    def _all_back(self) -> bool:
        return len(self.latencies) + sum(self.wrong.values()) >= self.order.most

    def took(self, body: bytes) -> None:
        """Counts bytes of bodies, and how late timed lines came."""
        now = monotonic()
        if self.from_ <= now <= self.until:
            self.received += len(body)
            if self.order.timed:
                self.lates += [(now - float(line)) * 1000 for line in body.split()]

    def complain(self, what: str) -> None:
        """Counts an error by its words."""
        if not self.ended.done():
            self.wrong[what] = self.wrong.get(what, 0) + 1

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def _measured(self) -> Measured:
        for what, count in self.wrong.items():
            print(f"{what}: {count} times", file=sys.stderr)
        done = len(self.latencies)
        seconds = (self.last - self.from_) if self.order.most else self.order.seconds
        return Measured(
            answers=done,
            errors=sum(self.wrong.values()),
            seconds=seconds,
            per_second=done / seconds if seconds > 0 else 0.0,
            p50=percentile(self.latencies, 0.5),
            p99=percentile(self.latencies, 0.99),
            first_p50=percentile(self.firsts, 0.5),
            first_p99=percentile(self.firsts, 0.99),
            bytes_per_second=self.received / seconds if seconds > 0 else 0.0,
            late_p50=percentile(self.lates, 0.5),
            late_p99=percentile(self.lates, 0.99),
        )


class _Connection(asyncio.Protocol):
    """One keep-alive connection with one call at a time; also what its parser calls."""

    transport: asyncio.Transport

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._parser = httptools.HttpResponseParser(self)
        self.due = 0.0
        self.first: float | None = None
        self.answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody closes a connection while we measure."""
        self._load.complain(f"connection lost: {exc!r}")

    def send(self, wire: bytes, due: float) -> None:
        """Sends a call."""
        self.due, self.first = due, None
        self.transport.write(wire)

    def data_received(self, data: bytes) -> None:
        """Parses."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Notes the first byte and counts all."""
        if self.first is None:
            self.first = monotonic()
        self._load.took(body)

    def on_message_complete(self) -> None:
        """The answer is here as a whole."""
        self._load.answered(self, self._parser.get_status_code())


def main() -> None:
    """One order from stdin; exit code 1 when anything was answered wrongly."""
    said = json.loads(sys.stdin.read())
    order = Order(**said)

    async def run() -> Measured:
        return await _Load(order).run()

    measured = uvloop.run(run())
    print(json.dumps(asdict(measured)))
    if measured.errors or not measured.answers:
        sys.exit(1)


if __name__ == "__main__":
    main()

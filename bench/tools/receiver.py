"""Webhook receivers: `python -m bench.tools.receiver COUNT FILE [--dead]`. They note when each request came.

FILE gets their ports. `GET /arrivals` answers {request_id: monotonic seconds}. With `--dead` the last one takes calls
and never answers.
"""

import argparse
import asyncio
import json
from pathlib import Path
from time import monotonic

import httptools
import uvloop

ARRIVALS: dict[str, float] = {}
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class _Receiver(asyncio.Protocol):
    """One connection."""

    transport: asyncio.Transport

    def __init__(self, dead: bool) -> None:
        self._dead = dead
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._parser.get_method() == b"GET":
            said = json.dumps(ARRIVALS).encode()
            head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(said)}\r\n\r\n"
            self.transport.write(head.encode() + said)
            return
        ARRIVALS.setdefault(json.loads(self._body)["request_id"], monotonic())
        self._body = b""
        if not self._dead:
            self.transport.write(OK)


async def serve(count: int, file: Path, one_dead: bool) -> None:
    """Until it is ended."""
    loop, ports = asyncio.get_running_loop(), list[int]()
    for number in range(count):
        dead = one_dead and number == count - 1
        server = await loop.create_server(lambda dead=dead: _Receiver(dead), "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
    file.with_suffix(".new").write_text(json.dumps(ports))
    file.with_suffix(".new").replace(file)
    await asyncio.Event().wait()


def main() -> None:
    """Serves."""
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("file", type=Path)
    parser.add_argument("--dead", action="store_true")
    options = parser.parse_args()
    uvloop.run(serve(options.count, options.file, options.dead))


if __name__ == "__main__":
    main()

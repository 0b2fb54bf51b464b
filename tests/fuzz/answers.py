"""Mutated answers, and what the gateway's and the worker's ends make of them; `tests/data/answers` are the seeds.

An answer is understood the same way however it is cut into pieces, it ends, and whatever is wrong is the one error
that callers expect.
"""

import asyncio
import random
import socket
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from api.upstream.passing import PublicAddress, answered
from api.upstream.proxy import check_sendable
from deployments.http_client.connection import BrokenAnswer, BrokenCall, Connection
from deployments.http_client.exchange import AnswerError, AnswerReader
from workers.hosting.connection import Response

SEEDS = [
    path.read_bytes() for path in sorted((Path(__file__).parents[1] / "data/answers").iterdir())
]
WORDS = [
    b"\r\n", b"\r", b"\n", b"\r\n\r\n", b"0\r\n\r\n", b":", b" ", b"\t", b"\x00", b"\xff", b"content-length: ",
    b"transfer-encoding: chunked\r\n", b"connection: close\r\n", b"connection: upgrade\r\nupgrade: x\r\n", b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 101 x\r\n", b"HTTP/1.1 103 x\r\n\r\n", b"HTTP/2", b"location: //[\r\n", b"location: http://host:99999999\r\n",
    b"link: <\r\n", b"ffffffffffffffff", b"18446744073709551616", b"-1", b"99999999999999999999999", b"a" * 70_000,
]  # fmt: skip
METHODS = ["GET", "HEAD", "POST"]
NEXT = b"HTTP/1.1 200 OK\r\nx-next: 1\r\ncontent-length: 4\r\n\r\nnext"
MOST_TURNS = 200  # of the loop, by which a call is over once the connection is


def mutated(chance: random.Random) -> bytes:
    """A seed with a few edits."""
    said = chance.choice(SEEDS)
    for _ in range(chance.randrange(5)):
        at, end = sorted((chance.randint(0, len(said)), chance.randint(0, len(said))))
        match chance.randrange(6):
            case 0:
                said = said[:at] + chance.choice(WORDS) + said[at:]
            case 1:
                said = said[:at] + chance.choice(WORDS) + said[end:]
            case 2:
                said = said[:at] + said[end:]
            case 3:
                said = said[:at] + bytes([chance.randrange(256)]) + said[at + 1 :]
            case 4:
                said = said[:at] + chance.choice(SEEDS)
            case _:
                said = said[:end] + said[at:]
    return said


def cut(said: bytes, chance: random.Random) -> list[bytes]:
    """The same in pieces."""
    places = sorted(chance.randint(0, len(said)) for _ in range(chance.randrange(6)))
    return [said[a:b] for a, b in zip([0, *places], [*places, len(said)], strict=True) if a < b]


@dataclass
class Outcome:
    """What a reader understood; `whole` says that it took the answer for complete."""

    status: int = 0
    kind: bytes = b""
    body: bytes = b""
    whole: bool = False
    more: bool = False  # than one answer came


@dataclass
class _Wire(asyncio.Transport):
    """The gateway's connection to a host that is this test."""

    aborted: bool = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Its socket is one of this machine."""
        return SimpleNamespace(family=socket.AF_UNIX) if name == "socket" else default

    def write(self, data: Any) -> None:
        """Nobody reads it."""

    def writelines(self, list_of_data: Any) -> None:
        """Nor this."""

    def abort(self) -> None:
        """As the gateway ends it."""
        self.aborted = True

    def pause_reading(self) -> None:
        """What comes is bounded anyway."""

    def resume_reading(self) -> None:
        """As above."""


async def at_the_gateway(pieces: list[bytes], method: str) -> Outcome:
    """How the gateway reads it."""
    connection, outcome = Connection(), Outcome()
    connection.connection_made(_Wire())
    reading = asyncio.ensure_future(_read(connection, method, outcome))
    await _turn()
    for piece in pieces:
        if not connection.lost:  # as after an abort
            connection.data_received(piece)
    outcome.more = connection.lost
    connection.connection_lost(None)
    for _ in range(MOST_TURNS):
        if reading.done():
            break
        await _turn()
    assert reading.done(), "the call does not end although the connection did"
    reading.result()
    return outcome


async def _read(connection: Connection, method: str, outcome: Outcome) -> None:
    try:
        await connection.call(method, "/x", [], None)
        while True:
            outcome.body += await connection.read()
            if connection.complete:
                break
    except BrokenCall:
        return
    outcome.status, outcome.whole = connection.status, True
    outcome.kind = next((v for n, v in reversed(connection.headers) if n == b"content-type"), b"")
    try:
        check_sendable(connection)
    except BrokenAnswer:
        return
    kept = answered(connection.headers, lambda: PublicAddress("https", "a.b", "/m/sync"))
    assert all(name and b"\n" not in name + value for name, value in kept)


async def _turn() -> None:
    turned = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(turned.set_result, None)
    await turned


class _Pieces:
    """The worker's socket at a host that is this test."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = list(pieces)

    def recv(self, _: int) -> bytes:
        """The next one; then the end."""
        return self.pieces.pop(0) if self.pieces else b""

    def close(self) -> None:
        """The answer said so."""


def at_the_worker(pieces: list[bytes]) -> Outcome:
    """How the worker reads it."""
    outcome, connected, answer = Outcome(), _Pieces(pieces), AnswerReader()
    answer.begin("POST")
    try:
        response = Response(answer, cast(socket.socket, connected), connected.close)
        outcome.body = response.read()
    except OSError:
        return outcome
    outcome.status, outcome.whole = response.status, True
    outcome.kind = next((v for n, v in reversed(answer.headers) if n == b"content-type"), b"")
    outcome.more = bool(connected.pieces)
    return outcome


def after(pieces: list[bytes], method: str) -> tuple[object, ...] | None:
    """What the next answer on the same connection means; None where there is to be no other call."""
    reader = AnswerReader()
    reader.begin(method)
    try:
        for piece in pieces:
            reader.feed(piece)
    except AnswerError:
        assert not reader.reusable
    reader.take()
    if not reader.reusable:
        return None
    reader.begin("GET")
    reader.feed(NEXT)
    return reader.status, reader.headers, reader.take(), reader.reusable


async def check(chance: random.Random) -> None:
    """One case. Raises AssertionError, and whatever a reader should not have raised."""
    said, method = mutated(chance), chance.choice(METHODS)
    pieces = cut(said, chance)
    gateway, worker = await at_the_gateway(pieces, method), at_the_worker(pieces)
    again = await at_the_gateway([said], method)
    assert _seen(gateway) == _seen(again), (said, pieces, method, gateway, again)
    assert after(pieces, method) in (None, after([NEXT], "GET")), (said, pieces, method)
    if method != "HEAD" and not gateway.more and not worker.more:
        same = at_the_worker([said])
        assert _seen(worker) == _seen(same), (said, pieces, worker, same)
        assert _seen(worker) == _seen(gateway), (said, pieces, worker, gateway)


def _seen(outcome: Outcome) -> tuple[object, ...]:
    return (outcome.status, outcome.kind, outcome.body) if outcome.whole else ()

"""What a model host gets of a sync call, byte by byte: a socket in a replica's place shows it."""

import asyncio
import http.client
import json
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from deployments.registry import verbs as registry
from deployments.registry.records import Replica
from tasks.store.job_store import JobStore
from tests.contract.api.conftest import KEY, Live

MODEL = "/models/seen/production"


class Hosts:
    """Two replicas of a model, in one place: what they received, and how many of them die in the middle of a call."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.dying = 0
        self.died = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer_all(reader, writer)
        finally:  # also when the test ends: a call of the next one on an open connection would get no answer
            writer.close()

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if self.dying:
                self.dying -= 1
                await reader.readexactly(1)  # of the body
                self.died.set()
                return
            body = await _body(reader, head)
            self.seen.append(head + body)
            answer = json.dumps({"length": len(body)}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer))
            await writer.drain()


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    headers = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
    if b"content-length" in headers:
        return await reader.readexactly(int(headers[b"content-length"]))
    pieces: list[bytes] = []
    while b"transfer-encoding" in headers and (size := int(await reader.readline(), 16)):
        pieces.append(await reader.readexactly(size))
        await reader.readline()
    if pieces:
        await reader.readline()
    return b"".join(pieces)


@pytest.fixture
async def hosts(live: Live, tmp_path: Path) -> AsyncGenerator[Hosts]:
    hosts, store = Hosts(), JobStore(live.settings)
    deployment = store.run(registry.register("seen", str(tmp_path), "hash", 1))
    replicas: list[Replica] = []
    servers: list[asyncio.Server] = []
    for number in range(2):
        path = str(tmp_path / f"s{number}")
        servers.append(await asyncio.start_unix_server(hosts.serve, path))
        replicas.append(
            Replica(
                f"seen{number}", deployment.id, "seen", "ready", None, path, 1, 0, os.getpid(), None
            )
        )
    for replica in replicas:
        store.run(registry.report(replica, 15_000))
    yield hosts
    for replica in replicas:
        store.run(registry.remove(replica.id))
    for server in servers:
        server.close()


def sent(live: Live, method: str, target: str, headers: list[tuple[str, str]]) -> int:
    """A call exactly as written: a client library would tidy it up."""
    connection = http.client.HTTPConnection(urlsplit(live.url).netloc, timeout=20)
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in [("host", "x"), ("authorization", f"Api-Key {KEY}"), *headers]:
        connection.putheader(name, value)
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        ("/a/b.c?d=e%20f&g=%2F", "/a/b.c?d=e%20f&g=%2F"),
        ("/a%20b", "/a%20b"),
        ("/100%25", "/100%25"),
        ("/a%2520b", "/a%2520b"),
        ("/x%0devil:%201", "/x%0Devil:%201"),
        ("/%C3%A9%3Fq%23f", "/%C3%A9%3Fq%23f"),
    ],
)
async def test_path_and_query_arrive_as_they_were_sent(
    live: Live, hosts: Hosts, asked: str, seen: str
) -> None:
    assert await asyncio.to_thread(sent, live, "GET", f"{MODEL}/sync{asked}", []) == 200
    assert hosts.seen[0].startswith(f"GET {seen} HTTP/1.1\r\n".encode())


async def test_headers_arrive_but_for_those_of_the_connection_and_the_caller_s_key(
    live: Live, hosts: Hosts
) -> None:
    headers = [("x-a", "1"), ("x-a", "2"), ("cookie", "a=b"), ("te", "trailers")]
    headers += [
        ("connection", "close"),
        ("x-kingpost-token", "t"),
        ("x-baseten-request-id", "mine"),
    ]
    assert await asyncio.to_thread(sent, live, "GET", f"{MODEL}/sync/a", headers) == 200
    head = hosts.seen[0].split(b"\r\n")[1:-2]
    names = [line.split(b":")[0] for line in head]
    ours = [b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-baseten-request-id"]
    assert names == [b"host", b"x-a", b"x-a", *ours]
    assert b"mine" not in hosts.seen[0]


async def test_a_streamed_body_goes_as_a_whole_to_the_replica_after_the_one_that_died(
    live: Live, hosts: Hosts
) -> None:
    hosts.dying = 1

    async def body() -> AsyncGenerator[bytes]:
        for _ in range(4):
            yield b"x" * 100_000
        await hosts.died.wait()
        yield b"y" * 100_000

    key = {"authorization": f"Api-Key {KEY}"}
    async with httpx.AsyncClient(base_url=live.url, headers=key, timeout=20) as client:
        answer = await client.post(f"{MODEL}/predict", content=body())
    assert (answer.status_code, answer.json()) == (200, {"length": 500_000})
    assert answer.headers["x-baseten-model-prediction-attempts"] == "2"

"""The way to the model hosts: the least loaded replica, over its Unix socket or its door, streamed through."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Mapping
from dataclasses import dataclass, field
from time import monotonic

import aiohttp

from api.problems import Problem
from api.tcp_upstream import check_door, connector_to, headers_to
from deployments.directory import AsyncDirectory, Replica
from deployments.ways import Way

REPLAYED_BYTES = 1024 * 1024  # of a request body that can be sent again to another replica
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer"}
    | {"transfer-encoding", "upgrade", "host", "content-length", "expect"}
)
NOT_FORWARDED = HOP_BY_HOP | {"authorization", "cookie", "x-baseten-request-id"}
BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})
# The client library must not add what the client did not say: a content type changes how a model reads a body.
NOT_OURS = ("User-Agent", "Content-Type", "Accept", "Accept-Encoding")
CONNECT_SECONDS = 2.0
NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
HANDSHAKE_TIMEOUT = aiohttp.ClientTimeout(total=300, sock_connect=CONNECT_SECONDS)
KEEPALIVE_SECONDS = 30
SHUNNED_SECONDS = 5.0  # a replica that could not be reached, while there are others


@dataclass
class ReplayableBody:
    """A request body that is streamed once, and again from its beginning while that is still held."""

    source: AsyncIterable[bytes]
    held: list[bytes] = field(default_factory=list[bytes])
    held_bytes: int = 0
    problem: Problem | None = None
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def replayable(self) -> bool:
        """Whether nothing of it was dropped yet."""
        return self.held_bytes <= REPLAYED_BYTES

    async def _counted_source(self) -> AsyncGenerator[bytes]:
        """The source; what is wrong with the client's body is kept apart from what is wrong with a replica."""
        try:
            async for chunk in self.source:
                yield chunk
        except Problem as problem:
            self.problem = problem
            raise

    async def receive(self) -> None:
        """Takes all of a small body before it is sent. Raises Problem and ClientDisconnect."""
        async for _ in self.stream():
            pass

    def to_send(self) -> bytes | AsyncGenerator[bytes]:
        """All of it where it is here already, for that costs the client library less; else the stream."""
        if self.finished.is_set() and self.replayable:
            return b"".join(self.held)
        return self.stream()

    async def stream(self) -> AsyncGenerator[bytes]:
        """What is held, then the rest."""
        for chunk in list(self.held):
            yield chunk
        if self.finished.is_set():
            return
        async for chunk in self._counted_source():
            self.held_bytes += len(chunk)
            if self.replayable:
                self.held.append(chunk)
            else:
                self.held.clear()
            yield chunk
        self.finished.set()


class Upstreams:
    """One connection pool for each model host."""

    def __init__(self, directory: AsyncDirectory) -> None:
        self._directory = directory
        self._sessions: dict[Way, aiohttp.ClientSession] = {}
        self._in_flight: Counter[str] = Counter()
        self._shunned: dict[str, float] = {}  # replica id -> until when

    def choose(self, deployment_id: str, avoid: frozenset[str] = frozenset()) -> Replica | None:
        """The ready replica with the fewest calls for its slots; those in `avoid` failed already."""
        ready = [one for one in self._directory.ready(deployment_id) if one.id not in avoid]
        if not ready:
            return None
        if self._shunned:  # a machine that vanished costs a timeout, not one for every call
            now = monotonic()
            ready = [one for one in ready if self._shunned.get(one.id, 0.0) < now] or ready
        return min(ready, key=lambda one: (self._in_flight[one.id] + one.busy) / max(one.slots, 1))

    @contextlib.asynccontextmanager
    async def request(
        self,
        replica: Replica,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: ReplayableBody,
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """One call to that replica; leaving the context early closes the connection and so the call."""
        session = self.session(replica)
        with self.counted(replica):
            async with session.request(
                method,
                f"http://host{path}",
                headers=headers,
                data=body.to_send() if method not in BODILESS else None,
                allow_redirects=False,
                timeout=NO_TIMEOUT,
                auto_decompress=False,
            ) as response:
                check_door(response.status, response.headers)
                yield response

    def shun(self, replica: Replica) -> None:
        """Others are better for a while: this one could not be reached."""
        self._shunned[replica.id] = monotonic() + SHUNNED_SECONDS

    @contextlib.contextmanager
    def counted(self, replica: Replica) -> Generator[None]:
        """Counts a call in flight."""
        self._in_flight[replica.id] += 1
        try:
            yield
        finally:
            self._in_flight[replica.id] -= 1

    def session(self, replica: Replica) -> aiohttp.ClientSession:
        """The pool of that replica's host."""
        way = self._directory.way(replica)
        session = self._sessions.get(way)
        if session is None:
            session = aiohttp.ClientSession(
                connector=connector_to(way, KEEPALIVE_SECONDS),
                headers=headers_to(way),
                timeout=HANDSHAKE_TIMEOUT,
                cookie_jar=aiohttp.DummyCookieJar(),  # one caller's cookies are no other caller's
                auto_decompress=False,
                skip_auto_headers=NOT_OURS,
            )
            self._sessions[way] = session
        return session

    async def forget_gone(self) -> None:
        """Closes the pools of hosts that are no more."""
        known, now = self._directory.ways(), monotonic()
        for way in [one for one in self._sessions if one not in known]:
            await self._sessions.pop(way).close()
        self._shunned = {one: until for one, until in self._shunned.items() if until > now}

    async def close(self) -> None:
        """Closes every pool."""
        await asyncio.gather(*(one.close() for one in self._sessions.values()))


def forwarded(headers: Mapping[str, str], request_id: str) -> dict[str, str]:
    """What the model sees of the client's headers: no key, no hop-by-hop ones, our request id."""
    kept = {
        name: value
        for name, value in headers.items()
        if name.lower() not in NOT_FORWARDED and not name.lower().startswith("x-kingpost-")
    }
    return kept | {"x-baseten-request-id": request_id}

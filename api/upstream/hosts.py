"""Calls model hosts: chooses the least loaded replica, connects to its socket or gate, and streams the answer."""

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass, field
from time import monotonic

from api.upstream.connection import connect
from deployments.host_address import REFUSED_HEADER, TOKEN_HEADER, HostAddress
from deployments.http_client.connection import BrokenCall, Connection
from deployments.http_client.exchange import RawHeaders
from deployments.registry.directory import Directory
from deployments.registry.records import Replica
from tasks.process.descriptors import SHORT, left

REPLAYED_BYTES = 1024 * 1024  # of a request body that can be sent again to another replica
BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})  # these have a body only if they say so
CONNECT_SECONDS = 2.0
IDLE_SECONDS = 30.0  # for which a connection is kept
SHUNNED_SECONDS = 5.0  # a replica that could not be reached, while there are others
TOKEN, REFUSED = TOKEN_HEADER.encode(), REFUSED_HEADER.encode()


class GateRefused(ConnectionError):
    """The gate of a model host refused the token, because another host has that address now."""

    def __init__(self) -> None:
        super().__init__("the model host's token has changed")


@dataclass
class ReplayableBody:
    """A request body that is streamed. It can be sent again while its beginning is still in memory."""

    source: AsyncGenerator[bytes]
    held: list[bytes] = field(default_factory=list[bytes])
    held_bytes: int = 0
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    absent: bool = False  # there is none, not even an empty one
    before: Callable[[], AsyncGenerator[bytes]] | None = None  # gives bytes to send ahead of it
    _coming: asyncio.Task[bytes | None] | None = None

    @property
    def replayable(self) -> bool:
        """Whether the whole body can still be sent again."""
        return self.held_bytes <= REPLAYED_BYTES

    async def receive(self) -> None:
        """Reads a small body completely before it is sent. Raises Problem and ClientDisconnect."""
        if not self.finished.is_set():
            async for chunk in self.source:
                self._hold(chunk)
            self.finished.set()

    def to_send(self) -> bytes | AsyncGenerator[bytes]:
        """The bytes of the body if it was read completely, so that they are sent with the head; else the stream."""
        if self.before:
            return self._after(self.before())
        if self.finished.is_set() and self.replayable:
            return b"".join(self.held)
        return self.stream()

    async def stream(self) -> AsyncGenerator[bytes]:
        """Yields the part in memory, then the rest. Raises Problem and ClientDisconnect.

        Ending it early, as the death of a replica does, loses nothing of the source.
        """
        for chunk in list(self.held):
            yield chunk
        while not self.finished.is_set():
            if self._coming is None:
                self._coming = asyncio.create_task(self._next())
            chunk = await asyncio.shield(self._coming)
            self._coming = None
            if chunk is None:
                self.finished.set()
            else:
                self._hold(chunk)
                yield chunk

    async def _after(self, before: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        async for chunk in before:
            yield chunk
        async for chunk in self.stream():
            yield chunk

    def close(self) -> None:
        """Stops reading the body."""
        if self._coming:
            self._coming.cancel()

    async def _next(self) -> bytes | None:
        return await anext(self.source, None)

    def _hold(self, chunk: bytes) -> None:
        self.held_bytes += len(chunk)
        if self.replayable:
            self.held.append(chunk)
        else:
            self.held.clear()


class Upstreams:
    """The connections to all model hosts, which are kept between calls."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._idle: defaultdict[HostAddress, list[tuple[float, Connection]]] = defaultdict(list)
        self._in_flight: Counter[str] = Counter()
        self._shunned: dict[str, float] = {}  # replica id -> until when

    def choose(self, deployment_id: str, avoid: frozenset[str] = frozenset()) -> Replica | None:
        """The ready replica with the fewest calls for each slot, without those in `avoid`, which failed already."""
        ready = [
            replica for replica in self._directory.ready(deployment_id) if replica.id not in avoid
        ]
        if not ready:
            return None
        if self._shunned:  # a machine that vanished costs a timeout, not one for every call
            now = monotonic()
            ready = [
                replica for replica in ready if self._shunned.get(replica.id, 0.0) < now
            ] or ready
        return min(
            ready,
            key=lambda replica: (
                (self._in_flight[replica.id] + replica.busy) / max(replica.slots, 1)
            ),
        )

    @contextlib.asynccontextmanager
    async def request(
        self, replica: Replica, method: str, target: str, headers: RawHeaders, body: ReplayableBody
    ) -> AsyncGenerator[Connection]:
        """Makes a call, and gives the connection once it has the head of the answer. Leaving the context early ends the call.

        Raises OSError, of which GateRefused, BrokenCall and BrokenAnswer are kinds.
        """
        address = self.host_address(replica)
        with self.counted(replica):
            connection = self._idle_connection(address)
            if connection:
                try:
                    await _call(connection, address, method, target, headers, body)
                except BrokenCall as error:  # the host may have been replaced since the last call
                    if not (error.unread and body.replayable):
                        raise
                    connection = None
            if connection is None:
                if left() <= SHORT:
                    self._close_idle()
                connection = await connect(address, CONNECT_SECONDS)
                await _call(connection, address, method, target, headers, body)
            try:
                yield connection
            finally:
                if connection.reusable:
                    self._idle[address].append((monotonic(), connection))
                else:
                    connection.close()

    def host_address(self, replica: Replica) -> HostAddress:
        """The address of its model host."""
        return self._directory.host_address(replica)

    def shun(self, replica: Replica) -> None:
        """Prefers other replicas for a while, because this one could not be reached."""
        self._shunned[replica.id] = monotonic() + SHUNNED_SECONDS

    @contextlib.contextmanager
    def counted(self, replica: Replica) -> Generator[None]:
        """Counts a call in flight."""
        self._in_flight[replica.id] += 1
        try:
            yield
        finally:
            self._in_flight[replica.id] -= 1

    def _idle_connection(self, address: HostAddress) -> Connection | None:
        """The connection that was used last, so that unused ones can be closed."""
        idle = self._idle[address]
        while idle:
            _, connection = idle.pop()
            if not connection.lost:
                return connection
        return None

    def trim(self) -> None:
        """Closes connections to hosts that are gone, and connections that were not used lately."""
        known, now = self._directory.host_addresses(), monotonic()
        for address, idle in list(self._idle.items()):
            old = [
                connection
                for used, connection in idle
                if used < now - IDLE_SECONDS or address not in known
            ]
            idle[:] = [(used, connection) for used, connection in idle if connection not in old]
            for connection in old:
                connection.close()
            if not idle:
                del self._idle[address]
        self._shunned = {
            replica_id: until for replica_id, until in self._shunned.items() if until > now
        }

    def close(self) -> None:
        """Closes all connections."""
        self._close_idle()

    def _close_idle(self) -> None:
        for idle in self._idle.values():
            for _, connection in idle:
                connection.close()
        self._idle.clear()


async def _call(
    connection: Connection,
    address: HostAddress,
    method: str,
    target: str,
    headers: RawHeaders,
    body: ReplayableBody,
) -> None:
    """Makes one call. A connection on which it failed is closed. Raises GateRefused."""
    try:
        sent = None if body.absent else body.to_send()
        all_headers = [*headers, (TOKEN, address.token.encode())] if address.token else headers
        await connection.call(method, target, all_headers, sent)
        if connection.status == 401 and address.token and REFUSED in dict(connection.headers):
            raise GateRefused
    except BaseException:
        connection.close()
        raise

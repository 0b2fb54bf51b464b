"""Shares the connections between strangers and holders of keys, so that neither can lock the other out.

- A connection belongs to a stranger until a valid key is sent on it.
- Strangers get half of the connections, and one address a quarter. When there are too many, the oldest connection of the
  busiest address is closed.
- Holders of keys get all but a tenth, so that a new key and a health check always find a place. Each key has a limit of its own.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address
from time import monotonic
from typing import Any

from api.problems import Problem
from tasks.process.descriptors import KEPT, left
from tasks.process.logs import get_logger

log = get_logger("connections")

# s for which a new connection is not closed while there is room: many callers at once may be about to send their keys.
PATIENCE = 1.0
LOOK_SECONDS = 1.0
STALLED_SECONDS = 10.0  # for which a client may read nothing of an answer that waits for it
TELL_SECONDS = 10.0  # between two log lines with the same reason


@dataclass(eq=False)
class Connection:
    """One connection of a client. `key` is the id of the last key that was sent on it."""

    pool: "Connections"
    transport: Any
    address: str
    opened: float
    key: str = ""
    queued: bool = False  # its request waits for its turn, so its client is not slow
    waiting: int = 0  # bytes that the client has not read
    waiting_since: float = 0.0

    def show(self, key: str) -> None:
        """Called when a valid key was sent. Raises Problem 429 or 503 if there is no place for its holder."""
        if key != self.key:
            self.pool.take_in(self, key)

    def started(self) -> None:
        """Called when its first request is served. The time in which it must send a key begins now."""
        self.queued, self.opened = False, self.pool.now()

    def close(self) -> None:
        """Called when the connection is closed."""
        self.pool.forget(self)

    def cut(self, why: str) -> None:
        """Closes the connection at once, also in the middle of a call."""
        self.pool.count(why)
        self.pool.forget(self)
        self.transport.abort()


class Connections:
    """All connections of one API process."""

    def __init__(
        self, most: int, most_per_key: int = 0, clock: Callable[[], float] = monotonic
    ) -> None:
        self._most, self._most_per_key, self._clock = most, most_per_key, clock
        self._strangers: dict[str, dict[Connection, None]] = {}  # by address, the oldest first
        self._holders: dict[str, set[Connection]] = {}  # by key
        self.held = 0  # bytes that were received and not parsed yet
        self.refused: Counter[str] = Counter()  # why -> how many
        self._told: dict[str, float] = {}

    @property
    def strangers(self) -> int:
        """The number of connections without a valid key."""
        return sum(map(len, self._strangers.values()))

    @property
    def holders(self) -> int:
        """The number of connections with a valid key."""
        return sum(map(len, self._holders.values()))

    def now(self) -> float:
        """Seconds by the clock that connections are measured with."""
        return self._clock()

    def open(self, transport: Any) -> Connection:
        """Adds a connection of a stranger. If there are too many, older ones are closed. If file descriptors run short, it is closed itself."""
        peer = transport.get_extra_info("peername")
        connection = Connection(self, transport, _address(peer), self._clock())
        self._strangers.setdefault(connection.address, {})[connection] = None
        if left() < KEPT:  # the last ones are for the store and for calls of holders of keys
            connection.cut("descriptors")
            return connection
        while reason := self._too_many(connection.address):
            victim = self._oldest(connection.address if reason == "address" else self._busiest())
            patience = victim.queued or self._clock() - victim.opened <= PATIENCE
            if reason != "all" and patience:
                break
            victim.cut(f"strangers_{reason}")
        return connection

    def take_in(self, connection: Connection, key: str) -> None:
        """Makes it the connection of a key. Raises Problem."""
        taken = self._holders.get(key, set())
        if self._most_per_key and len(taken) >= self._most_per_key:
            self.count("key")
            message = f"This key has {len(taken)} connections, which is its limit; close some."
            raise Problem(429, "rate_limited", message, {"Retry-After": "1", "Connection": "close"})
        if not connection.key and self.holders >= self._most - max(1, self._most // 10):
            self.count("holders")
            message = "There are too many connections right now; try again shortly."
            again = {"Retry-After": "1", "Connection": "close"}
            raise Problem(503, "internal_baseten_error", message, again)
        self.forget(connection)
        connection.key = key
        self._holders.setdefault(key, set()).add(connection)

    def forget(self, connection: Connection) -> None:
        """Removes a connection."""
        if connection.key:
            _drop(self._holders, connection.key, connection)
        else:
            _drop(self._strangers, connection.address, connection)

    def count(self, why: str) -> None:
        """Counts a connection that was refused or closed. The count is logged now and then."""
        self.refused[why] += 1
        now = self._clock()
        if now - self._told.get(why, -TELL_SECONDS) >= TELL_SECONDS:
            self._told[why] = now
            log.warning("connections.refused", why=why, so_far=self.refused[why])

    async def watch(self) -> None:
        """Closes connections of clients that do not read their answers, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """One round over all connections."""
        now = self._clock()
        for group in (*self._strangers.values(), *self._holders.values()):
            for connection in list(group):
                waiting = connection.transport.get_write_buffer_size()
                if not waiting or waiting != connection.waiting:
                    connection.waiting, connection.waiting_since = waiting, now
                elif now - connection.waiting_since >= STALLED_SECONDS:
                    connection.cut("not_reading")

    def _too_many(self, address: str) -> str:
        strangers = self.strangers
        if strangers + self.holders > self._most:
            return "all"
        if strangers > max(1, self._most // 2):
            return "half"
        return "address" if len(self._strangers[address]) > max(1, self._most // 4) else ""

    def _busiest(self) -> str:
        return max(self._strangers, key=lambda address: len(self._strangers[address]))

    def _oldest(self, address: str) -> Connection:
        return next(iter(self._strangers[address]))


def _drop(groups: Any, name: str, connection: Connection) -> None:
    group = groups.get(name)
    if group and connection in group:
        (group.discard if isinstance(group, set) else group.pop)(connection)
        if not group:
            del groups[name]


def _address(peer: Any) -> str:
    """The address that a connection is counted for: an IPv4 address, or an IPv6 network, since one machine can use a whole one."""
    host = str(peer[0]) if isinstance(peer, tuple) and peer else ""
    if ":" not in host:
        return host
    return str(IPv6Address(int(IPv6Address(host.partition("%")[0])) >> 64 << 64))

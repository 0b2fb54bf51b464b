"""Ends a TCP connection whose peer's machine is gone, also while something is on its way to it.

Keep-alive finds such a machine only while nothing waits for an acknowledgement. `TCP_USER_TIMEOUT` finds the rest, but it also counts the time of a
peer that is alive and reads slowly. So the rest is read from the kernel's `struct tcp_info` (linux/tcp.h).
"""

import asyncio
import socket
import struct
from dataclasses import dataclass
from time import monotonic
from typing import NamedTuple

from tasks.process.logs import get_logger

log = get_logger("silence")

SILENT_SECONDS, PROBE_SECONDS, PROBES = 5, 5, 2  # keep-alive ends a connection after 15 s
LOOK_SECONDS = 5.0  # between two looks at a connection
UNACKNOWLEDGED_SECONDS = 10.0  # of repeats without an answer, after which the peer is silent
_OPTIONS = {"TCP_KEEPIDLE": SILENT_SECONDS, "TCP_KEEPINTVL": PROBE_SECONDS, "TCP_KEEPCNT": PROBES}
_INFO = struct.Struct("=2x2B52xI")  # retransmits, probes, and ms since the last acknowledgement


class Unacknowledged(NamedTuple):
    """What the kernel sent more than once without an answer, and for how many seconds nothing was acknowledged."""

    repeats: int
    seconds: float

    @classmethod
    def of(cls, connection: socket.socket) -> "Unacknowledged":
        """The state of a TCP connection. Raises OSError if it is closed."""
        known = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
        retransmits, probes, milliseconds = _INFO.unpack(known)
        return cls(retransmits + probes, milliseconds / 1000)


@dataclass
class _Watch:
    """The watch over one connection."""

    transport: asyncio.Transport
    since: float | None = None  # when something was first seen to be repeated

    def look_later(self) -> None:
        asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        connection, now = self.transport.get_extra_info("socket"), monotonic()
        try:
            unacknowledged = Unacknowledged.of(connection)
        except OSError:
            return  # closed in this moment
        if not unacknowledged.repeats:
            self.since = None
        elif self.since is None or unacknowledged.seconds < now - self.since:
            self.since = now
        elif now - self.since >= UNACKNOWLEDGED_SECONDS:
            log.warning("peer.silent", peer=str(self.transport.get_extra_info("peername")))
            self.transport.abort()
            return
        self.look_later()


def end_if_silent(transport: asyncio.Transport) -> None:
    """Lets the connection end within 25 s when the machine of its peer is gone. Call it in the connection's event loop."""
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _OPTIONS.items():
        if option := getattr(socket, name, None):
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
    if hasattr(socket, "TCP_INFO"):  # on Linux
        _Watch(transport).look_later()

"""How often a WebSocket's client is pinged: the package says it, and its model host tells the gateway, which holds the connection."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from deployments.packages.package import Transport

HEADER = b"x-kingpost-pings"  # of the host's answer to the handshake; the client never sees it
USUAL_SECONDS = 20.0  # uvicorn's own


@dataclass(frozen=True)
class Pings:
    """Seconds between two pings, and for the answer to one."""

    interval: float = USUAL_SECONDS
    timeout: float = USUAL_SECONDS

    @classmethod
    def of(cls, transport: Transport) -> "Pings":
        """What a package says in `runtime.transport`."""
        interval, timeout = transport.ping_interval_seconds, transport.ping_timeout_seconds
        return cls(interval or USUAL_SECONDS, timeout or USUAL_SECONDS)

    @classmethod
    def told(cls, headers: Iterable[tuple[bytes, bytes]]) -> "Pings":
        """What a host's answer says; the usual, if nothing that can be read."""
        said = dict(headers).get(HEADER, b"")
        with contextlib.suppress(ValueError):
            interval, timeout = map(float, said.split())
            if interval > 0 and timeout > 0:
                return cls(interval, timeout)
        return cls()

    @property
    def header(self) -> tuple[bytes, bytes]:
        """The same as `told` reads it."""
        return HEADER, f"{self.interval!r} {self.timeout!r}".encode()

"""How often WebSocket clients are pinged. The package sets it, and the model host tells the gateway, which sends the pings."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from deployments.packages.package import Transport

HEADER = b"x-kingpost-pings"  # of the host's answer to the handshake; the client never sees it
DEFAULT_SECONDS = 20.0  # uvicorn's default


@dataclass(frozen=True)
class Pings:
    """The seconds between two pings, and the seconds that the client has to answer."""

    interval: float = DEFAULT_SECONDS
    timeout: float = DEFAULT_SECONDS

    @classmethod
    def of(cls, transport: Transport) -> "Pings":
        """The pings that a package sets in `runtime.transport`."""
        interval, timeout = transport.ping_interval_seconds, transport.ping_timeout_seconds
        return cls(interval or DEFAULT_SECONDS, timeout or DEFAULT_SECONDS)

    @classmethod
    def told(cls, headers: Iterable[tuple[bytes, bytes]]) -> "Pings":
        """The pings that a host's answer names, else the default."""
        said = dict(headers).get(HEADER, b"")
        with contextlib.suppress(ValueError):
            interval, timeout = map(float, said.split())
            if interval > 0 and timeout > 0:
                return cls(interval, timeout)
        return cls()

    @property
    def header(self) -> tuple[bytes, bytes]:
        """The header that `told` reads."""
        return HEADER, f"{self.interval!r} {self.timeout!r}".encode()

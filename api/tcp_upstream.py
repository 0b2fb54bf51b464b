"""What the WebSocket client needs to reach a model host on another machine: its address, its token, a watch on silence."""

import socket
from collections.abc import Mapping

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from deployments.ways import REFUSED_HEADER, TOKEN_HEADER, Way, probe_silence


class DoorRefused(ConnectionError):
    """The door of a model host wants another token: the host behind that address is a new one."""

    def __init__(self) -> None:
        super().__init__("the model host's token has changed")


class _Fixed(AbstractResolver):
    """Every name is that one address, so that calls over TCP are written like those over a Unix socket."""

    def __init__(self, way: Way) -> None:
        self._host, self._port = way.endpoint
        self._family = socket.AF_INET6 if ":" in self._host else socket.AF_INET

    async def resolve(
        self,
        host: str,
        port: int = 0,  # noqa: ARG002
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002
    ) -> list[ResolveResult]:
        """The address."""
        return [
            ResolveResult(
                hostname=host, host=self._host, port=self._port, family=self._family,
                proto=0, flags=socket.AI_NUMERICHOST,
            )
        ]  # fmt: skip

    async def close(self) -> None:
        """Nothing to give back."""


def connector_to(way: Way) -> aiohttp.BaseConnector:
    """For one connection."""
    if not way.token:
        return aiohttp.UnixConnector(way.address)
    return aiohttp.TCPConnector(
        use_dns_cache=False,
        resolver=_Fixed(way),
        socket_factory=_watched_socket,
    )


def headers_to(way: Way) -> Mapping[str, str]:
    """What every call on that way says."""
    return {TOKEN_HEADER: way.token} if way.token else {}


def check_door(status: int, headers: Mapping[str, str] | None) -> None:
    """Raises DoorRefused for an answer that is the door's own."""
    if status == 401 and headers and REFUSED_HEADER in headers:
        raise DoorRefused


def _watched_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    probe_silence(made)
    return made

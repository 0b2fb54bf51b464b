"""The only place that opens sockets to the outside: guards every connection of the webhook sender.

The guard looks at the *resolved* address at the moment of connecting, so that neither a literal address in another
notation nor a name that resolves differently the second time gets past it. The table is our own: `ipaddress.is_global`
calls multicast, NAT64 and 6to4 addresses global.
"""

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver

from tasks.settings import Settings

ANSWER_BYTES = 4096  # read of an answer at most
NOT_PUBLIC = "is not a public address"
PORTS = frozenset({80, 443})

_DENIED_V4 = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
]
# Only global unicast (2000::/3) may be reached, less what embeds or borders on IPv4 and documentation.
_ALLOWED_V6 = ipaddress.ip_network("2000::/3")
_DENIED_V6 = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "2620:4f:8000::/48"]

DENIED = [ipaddress.ip_network(one) for one in (*_DENIED_V4, *_DENIED_V6)]


class EgressDenied(OSError):
    """This address must not be reached from here."""


@dataclass(frozen=True)
class Answer:
    """What a receiver said: at most 4 kB of it."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def is_denied(address: str) -> bool:
    """Whether a resolved IP address is off limits."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])  # a zone id makes it no more public
    except ValueError:
        return True
    if isinstance(ip, ipaddress.IPv6Address) and ip not in _ALLOWED_V6:
        return True
    return any(ip in network for network in DENIED if network.version == ip.version)


class Egress:
    """A client for webhooks: guarded, without redirects, with bounded answers and a total deadline."""

    def __init__(self, settings: Settings, resolver: AbstractResolver | None = None) -> None:
        self._settings = settings
        connector = aiohttp.TCPConnector(
            limit=settings.webhook_concurrency,
            use_dns_cache=False,
            resolver=resolver,
            socket_factory=self._socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,  # no bombs
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=settings.webhook_timeout_seconds),
        )

    def _socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, where = address
        if not self._settings.webhook_allow_private and is_denied(str(where[0])):
            raise EgressDenied(f"{where[0]} {NOT_PUBLIC}")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """One POST. Raises EgressDenied for a forbidden target, aiohttp.ClientError and TimeoutError."""
        self._check(url)
        sent = {**headers, "Accept-Encoding": "identity", "User-Agent": "Kingpost-Webhooks/1"}
        try:
            async with self._session.post(
                url, data=body, headers=sent, allow_redirects=False
            ) as response:
                beginning = await _beginning(response.content)
                return Answer(response.status, dict(response.headers), beginning)
        except aiohttp.ClientConnectorError as error:
            # Our refusal comes back wrapped, together with others when a name has many addresses.
            if isinstance(error.os_error, EgressDenied) or NOT_PUBLIC in str(error.os_error):
                raise EgressDenied(str(error.os_error)) from error
            raise

    def _check(self, url: str) -> None:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        open_to = self._settings
        if parts.scheme != "https" and not open_to.webhook_allow_http:
            raise EgressDenied("only https is allowed")
        if port not in PORTS and not open_to.webhook_allow_private:
            raise EgressDenied(f"port {port} is not 443 or 80")
        if parts.username or parts.password:
            raise EgressDenied("user and password are not sent")

    async def close(self) -> None:
        """Closes every connection."""
        await self._session.close()


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    """At most ANSWER_BYTES; a longer answer is left unread, and its connection closed."""
    read = b""
    while len(read) < ANSWER_BYTES:
        chunk = await content.read(ANSWER_BYTES - len(read))
        if not chunk:
            break
        read += chunk
    return read

"""Opens the connections of the webhook sender, and refuses those that are not allowed.

The guard looks at the *resolved* address at the moment of connecting, so that neither a literal address in another
notation nor a name that resolves differently the second time gets past it.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from tasks.settings import Settings
from tasks.webhooks.schedule import REFUSED, one_line
from tasks.webhooks.targets import NOT_PUBLIC, is_denied, refusal

ANSWER_BYTES = 4096  # of an answer that are read at most


class EgressDenied(OSError):
    """This address must not be reached from here."""


@dataclass(frozen=True)
class Answer:
    """A receiver's answer, at most 4 kB of it."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Egress:
    """The HTTP client for webhooks. It follows no redirects, bounds answers and has a total deadline."""

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
            auto_decompress=False,  # against decompression bombs
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
        if why := refusal(url, self._settings):
            raise EgressDenied(why)
        sent = {**headers, "Accept-Encoding": "identity", "User-Agent": "Kingpost-Webhooks/1"}
        try:
            async with self._session.post(
                URL(url, encoded=True), data=body, headers=sent, allow_redirects=False
            ) as response:
                beginning = await _beginning(response.content)
                return Answer(response.status, dict(response.headers), beginning)
        except aiohttp.ClientConnectorError as error:
            # Our refusal comes back wrapped, together with others when a name has many addresses.
            if isinstance(error.os_error, EgressDenied) or NOT_PUBLIC in str(error.os_error):
                raise EgressDenied(str(error.os_error)) from error
            raise

    async def close(self) -> None:
        """Closes every connection."""
        await self._session.close()


async def post_once(
    url: str, headers: Mapping[str, str], body: bytes, settings: Settings
) -> Answer | str:
    """One POST over a connection of its own. The result is the answer, or why there was none."""
    egress = Egress(settings)
    try:
        return await egress.post(url, headers, body)
    except EgressDenied as denied:
        return f"{REFUSED}{denied}"
    except TimeoutError:
        return f"no answer in {settings.webhook_timeout_seconds:g} s"
    except (aiohttp.ClientError, OSError) as error:
        return one_line(error)
    finally:
        await egress.close()


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    """Reads at most ANSWER_BYTES. The connection of a longer answer is closed."""
    read = b""
    while len(read) < ANSWER_BYTES:
        chunk = await content.read(ANSWER_BYTES - len(read))
        if not chunk:
            break
        read += chunk
    return read

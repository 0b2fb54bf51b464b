"""Decides which headers pass to the model host, and which of its answer pass to the caller.

Only the service itself sets `x-baseten-*`, `x-kingpost-*` and `x-forwarded-*`. Keys, cookies and headers of one connection do not pass.
Everything else passes unchanged. docs/api.md has the list for users.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

from starlette.requests import HTTPConnection

from api.addressing import Addressed
from api.observing.traced import SPAN
from api.targets import path_of
from deployments.http_client.exchange import RawHeaders
from deployments.output_files import OUTPUT
from deployments.redirects import has_addresses, rewritten
from deployments.registry.resolver import Target
from kingpost.streams.frames import FRAMES

HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer"}
    | {b"transfer-encoding", b"upgrade", b"proxy-connection"}
)
FRAMING = {b"host", b"content-length", b"expect"}
SECRET = {b"authorization", b"cookie", b"x-api-key"}
NOT_FORWARDED = HOP_BY_HOP | FRAMING | SECRET | {b"forwarded", b"x-real-ip"}
OURS = (b"x-baseten-", b"x-kingpost-", b"x-forwarded-")
SET_BY_US = {
    b"x-baseten-request-id",
    b"x-baseten-model-prediction-attempts",
    OUTPUT.encode(),
    FRAMES.encode(),
}
NOT_ANSWERED = HOP_BY_HOP | SET_BY_US
CHAIN_REQUEST_ID = b"x-baseten-chain-request-id"
# Documents in which a browser runs scripts. In a sandbox they have no origin, so they cannot act as pages of this service.
SCRIPTED = re.compile(rb"\s*(text/html|[^;\s]+/([^;\s]+\+)?xml)\s*(;|$)", re.IGNORECASE)
SANDBOX = (b"content-security-policy", b"sandbox allow-scripts allow-forms allow-popups")
NAMES_NO_HEADER = frozenset({b"keep-alive", b"close"})  # the usual values of `Connection`
IN_A_PATH = "/:@!$&'()*+,;=~"  # characters that need no quoting, beside letters, digits and "_.-"
WEB = {"ws": "http", "wss": "https"}


def forwarded(connection: HTTPConnection, request_id: str, chain_id: bytes = b"") -> RawHeaders:
    """The headers for the model host: the caller's headers, its address, and our request id."""
    scope = connection.scope
    headers: RawHeaders = scope["headers"]
    dropped = NOT_FORWARDED | named_by_connection(headers)
    host = next((value for name, value in headers if name == b"host" and value), b"host")
    caller: tuple[str, int] | None = scope.get("client")
    client = str(caller[0]) if caller else "unknown"
    scheme: str = scope["scheme"]
    if span := scope.get("state", {}).get(SPAN):  # the host's spans are under ours
        dropped = dropped | {b"traceparent"}
    passed = [p for p in headers if p[0] not in dropped and not p[0].startswith(OURS)]
    ours = [
        (b"x-forwarded-for", client.encode("latin-1", "replace")),
        (b"x-forwarded-proto", WEB.get(scheme, scheme).encode()),
        (b"x-forwarded-host", host),
        (b"x-baseten-request-id", request_id.encode()),
    ]
    if span and span.traceparent:
        ours.append((b"traceparent", span.traceparent.encode()))
    if chain_id:  # one id for all that a run calls
        ours.append((CHAIN_REQUEST_ID, chain_id))
    return [(b"host", host), *passed, *ours]


def target_at(connection: HTTPConnection, path: str) -> str:
    """The path at the model host, quoted, with the caller's query unchanged."""
    query = connection.scope["query_string"].decode("latin-1")
    quoted = quote(path, IN_A_PATH)
    return f"{quoted}?{query}" if query else quoted


def named_by_connection(headers: RawHeaders) -> frozenset[bytes]:
    """The headers that a `Connection` header names as its own (RFC 9110, 7.6.1)."""
    named = [value for name, value in headers if name == b"connection"]
    if not named or (len(named) == 1 and named[0].lower() in NAMES_NO_HEADER):
        return frozenset()
    return frozenset(name.strip().lower() for value in named for name in value.split(b","))


@dataclass(frozen=True)
class PublicAddress:
    """The prefix of the caller's address under which the routes of a model host are."""

    scheme: str
    host: str
    prefix: str

    @classmethod
    def of(
        cls, connection: HTTPConnection, addressed: Addressed, target: Target
    ) -> "PublicAddress":
        """The address of a target's routes: `{target}/sync`. A regional host already names the target."""
        host = connection.headers.get("host", "host")
        scheme = connection.scope["scheme"]
        if addressed.environment is not None:
            return cls(scheme, host, "/sync")
        return cls(scheme, host, f"{addressed.prefix}{path_of(target)}/sync")

    def of_location(self, value: str) -> str:
        """A URL of the model host as its caller reaches it. Any other URL is unchanged."""
        try:
            url = urlsplit(value)
        except ValueError:
            return value
        if not url.netloc:
            if not url.path.startswith("/") or url.scheme:
                return value
            return urlunsplit(("", "", self._path(url.path), url.query, url.fragment))
        if url.scheme not in ("http", "https") or url.netloc not in (self.host, "host"):
            return value
        return urlunsplit(
            (self.scheme, self.host, self._path(url.path or "/"), url.query, url.fragment)
        )

    def _path(self, path: str) -> str:
        """The path with the prefix. A server that knows its public path has added it already."""
        return path if f"{path}/".startswith(f"{self.prefix}/") else self.prefix + path


def sandboxed(content_type: str) -> dict[str, str]:
    """Headers for a stored document in which a browser would run scripts: it is downloaded, or has no origin. Empty for any other."""
    if not SCRIPTED.match(content_type.encode("latin-1", "replace")):
        return {}
    name, value = SANDBOX
    return {name.decode(): value.decode(), "content-disposition": "attachment"}


def answered(headers: RawHeaders, address: Callable[[], PublicAddress]) -> RawHeaders:
    """The headers of the answer for the caller. Addresses of the host become addresses for the caller."""
    dropped = NOT_ANSWERED | named_by_connection(headers)
    kept = [pair for pair in headers if pair[0] not in dropped]
    if any(name == b"content-type" and SCRIPTED.match(value) for name, value in kept):
        kept.append(SANDBOX)  # beside a policy of the model's own: browsers apply both
    return rewritten(kept, address().of_location) if has_addresses(kept) else kept

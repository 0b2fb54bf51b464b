"""Turns addresses in a custom server's answer into paths, because callers of the gateway do not know the server's port."""

from urllib.parse import urljoin, urlsplit, urlunsplit

from deployments.redirects import Headers, has_addresses, rewritten

HERE = frozenset({"127.0.0.1", "localhost", "0.0.0.0", "::1", "::"})  # what servers call themselves


def from_root(headers: Headers, port: int, target: str) -> Headers:
    """The headers with the server's addresses as paths. `target` is the path that the server was asked for."""
    if not has_addresses(headers):
        return headers
    return rewritten(headers, lambda text: _from_root(text, port, target))


def _from_root(text: str, port: int, target: str) -> str:
    try:
        url = urlsplit(text)
        here = url.hostname in HERE and (url.port or 80) == port
    except ValueError:
        return text
    if url.scheme in ("http", "https") and here:
        return urlunsplit(("", "", url.path or "/", url.query, url.fragment))
    if url.scheme or url.netloc:
        return text
    return urljoin(target, text)

"""Addresses in a custom server's answer, as paths from its root: who called it through the gateway knows no port of ours."""

from urllib.parse import urljoin, urlsplit, urlunsplit

from deployments.redirects import Headers, has_addresses, rewritten

HERE = frozenset({"127.0.0.1", "localhost", "0.0.0.0", "::1", "::"})  # what servers call themselves


def from_root(headers: Headers, port: int, target: str) -> Headers:
    """The headers with the server's addresses as paths; `target` is what was asked, for predict is mapped."""
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

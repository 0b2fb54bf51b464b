"""Rewrites the headers of an answer that hold addresses: Location, Content-Location and Link."""

import re
from collections.abc import Callable

Headers = list[tuple[bytes, bytes]]
ADDRESSES = frozenset({b"location", b"content-location"})
LINK = b"link"
LINKED = re.compile(r"<([^<>]*)>")


def has_addresses(headers: Headers) -> bool:
    """Whether an answer has such headers. Most have none."""
    return any(name in ADDRESSES or name == LINK for name, _ in headers)


def rewritten(headers: Headers, rewrite: Callable[[str], str]) -> Headers:
    """The headers, with names in lower case and every address changed by `rewrite`."""
    return [(name, _value(name, value.decode("latin-1"), rewrite)) for name, value in headers]


def _value(name: bytes, text: str, rewrite: Callable[[str], str]) -> bytes:
    if name in ADDRESSES:
        text = rewrite(text.strip())
    elif name == LINK:
        text = LINKED.sub(lambda match: f"<{rewrite(match[1].strip())}>", text)
    return text.encode("latin-1")

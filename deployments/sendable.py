"""Which heads of an answer an HTTP/1.1 server can send. The host asks before its own server breaks off without a word, and
the gateway asks again, since a call that ends in silence counts as not made and is made once more."""

from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE

from tasks.outside_text import whole_number


def is_final(status: int) -> bool:
    """Whether an answer can end with that status: those below announce another, those above do not exist."""
    return 200 <= status <= 599


def why_unsendable(status: int, headers: Iterable[tuple[bytes, bytes]]) -> str:
    """What is wrong with this head, as the end of a sentence; nothing is ''."""
    if not is_final(status):
        return f"its status is {status}"
    lengths: list[bytes] = []
    for name, value in headers:
        if not name or HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
            return f"its header {name.decode('latin-1')!r} holds what no header may hold"
        if name.lower() == b"content-length":
            lengths.append(value)
    if len(lengths) > 1:
        return "it has two Content-Length headers"
    if lengths and whole_number(lengths[0].decode("latin-1")) is None:
        return "its Content-Length is no number"
    return ""

"""Checks whether an HTTP/1.1 server can send the head of an answer.

The host checks it, because its server would close the connection without an answer. The gateway checks it again, because a call
without an answer would be repeated.
"""

from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE

from tasks.outside_text import whole_number


def is_final(status: int) -> bool:
    """Whether a final answer can have that status. Lower ones announce another answer, higher ones do not exist."""
    return 200 <= status <= 599


def why_unsendable(status: int, headers: Iterable[tuple[bytes, bytes]]) -> str:
    """What is wrong with this head, as the end of a sentence; '' if nothing is wrong."""
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
        return "its Content-Length is not a number"
    return ""

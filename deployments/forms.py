"""Reads multipart/form-data that is in memory: where each part is, without a copy of it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

MOST_PARTS = 1000
MOST_HEAD = 4096  # bytes of the headers of a part
BOUNDARY = re.compile(
    r"multipart/form-data\s*;(?:.*;)?\s*boundary=(?:\"([^\"]{1,70})\"|([^\s;,]{1,70}))", re.I
)
PARAMETER = r'(?:^|;)\s*{name}="((?:[^"\\]|\\.)*)"'
NAME, FILENAME = (re.compile(PARAMETER.format(name=name)) for name in ("name", "filename"))


class FormError(ValueError):
    """The body is no form of that boundary."""


@dataclass(frozen=True)
class Part:
    """A part of a form: the name of its field, the name and type of its file ('' for text), and where its content is in the body."""

    name: str
    filename: str | None
    content_type: str
    place: slice


def boundary_of(content_type: str) -> bytes | None:
    """The boundary that a content type names, None if it is not the type of a form."""
    found = BOUNDARY.match(content_type)
    return (found[1] or found[2]).encode("latin-1", "replace") if found else None


def parts(body: bytes, boundary: bytes) -> Iterator[Part]:
    """The parts in their order. Raises FormError."""
    mark = b"--" + boundary
    at = 0 if body.startswith(mark) else body.find(b"\r\n" + mark) + 2
    if at == 1:
        raise FormError("the boundary is not in the body")
    for _ in range(MOST_PARTS):
        at += len(mark)
        if body.startswith(b"--", at):
            return
        head_end = body.find(b"\r\n\r\n", at, at + MOST_HEAD)
        end = body.find(b"\r\n" + mark, max(head_end + 2, at))
        if head_end < 0 or end < 0:
            raise FormError("it ends too early")
        yield part_of(body[at:head_end], slice(min(head_end + 4, end), end))
        at = end + 2
    raise FormError(f"it has more than {MOST_PARTS} parts")


def part_of(head: bytes, place: slice) -> Part:
    """The part with these headers. Raises FormError."""
    headers: dict[str, str] = {}
    for line in head.decode(errors="replace").split("\r\n"):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    disposition = headers.get("content-disposition", "")
    name, filename = NAME.search(disposition), FILENAME.search(disposition)
    if name is None:
        raise FormError("a part has no name")
    kind = headers.get("content-type", "")
    return Part(_plain(name[1]), _plain(filename[1]) if filename else None, kind, place)


def _plain(quoted: str) -> str:
    return re.sub(r"\\(.)", r"\1", quoted).replace("%22", '"')

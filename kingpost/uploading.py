"""Sends something in pieces: an upload that broke off goes on where it ended. Packages and files go the same way."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

from kingpost.calls import _object
from kingpost.errors import Conflict, NotFound, Unreachable
from kingpost.flow import Emit, Pause, Request, Retries, Step, ask, pause

PIECE = 8 << 20  # bytes of one request
CHECK_SECONDS = 1800.0  # until the server has checked what is large
OTHERS_SECONDS = 1.0  # between two looks at an upload that somebody else sends


@dataclass(frozen=True)
class Sent:
    """How much has arrived."""

    done: int
    total: int


Where = dict[str, Any]  # what the server says of an upload
Sending = Generator[Step | Emit[Any], Any, Where]  # it emits Sent


def sending(
    begin: Callable[[str], Request],
    place: str,
    content: Callable[[int], Iterator[bytes]],
    total: int,
) -> Sending:
    """Sends `content(offset)`, as far as the server does not have it. Returns what the server says of it when it is stored.

    `begin` makes the request that asks where to send to; it gets the id of the upload if that is known. Its pieces go to
    `place/ID`.
    """
    failed, before, known = 0, -1, ""
    while True:
        try:
            said = _object((yield from ask(begin(known))))
        except NotFound:
            if not known:
                raise
            known = ""  # it was dropped
            continue
        if said["stored"]:
            yield Emit(Sent(total, total))
            return said
        at = said.get("upload") or said
        known = at["id"]
        yield Emit(Sent(at["offset"], total))
        if at[
            "active"
        ]:  # somebody else sends it, or the server has not noticed yet that our connection broke
            yield Pause(OTHERS_SECONDS)
            continue
        failed = 0 if at["offset"] > before else failed + 1
        if failed > (yield Retries()):
            raise Unreachable("The upload breaks off again and again; send it again to go on.")
        before = at["offset"]
        yield Pause(pause(failed) if failed else 0)
        last = yield from _send(f"{place}/{known}", at["offset"], content, total)
        if last.get("stored"):
            return last


def _send(
    place: str, offset: int, content: Callable[[int], Iterator[bytes]], total: int
) -> Sending:
    """Sends the rest of an upload, until it is complete or breaks off: then the server says where it goes on."""
    said: Where = {}
    for piece in pieces_of(content(offset)):
        headers = {"content-type": "application/octet-stream", "upload-offset": str(offset)}
        request = Request(
            "PATCH",
            place,
            headers=headers,
            content=piece,
            repeatable=False,
            read_seconds=CHECK_SECONDS if offset + len(piece) == total else 60.0,
        )
        try:
            said = _object((yield from ask(request)))
        except (Unreachable, Conflict, NotFound):
            return {}
        offset += len(piece)
        yield Emit(Sent(offset, total))
    return said


def pieces_of(parts: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of PIECE; the last one may be smaller."""
    held = bytearray()
    for part in parts:
        held += part
        while len(held) >= PIECE:
            yield bytes(held[:PIECE])
            del held[:PIECE]
    if held:
        yield bytes(held)

"""Files by reference: uploaded for an input, downloaded from an output; and how uploads of any kind go on where they ended."""

import hashlib
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kingpost.calls import JSON, QUIET_SECONDS, _json, _object, _read
from kingpost.errors import Conflict, NotConfigured, NotFound, Unreachable
from kingpost.flow import Conversation, Emit, Flow, Pause, Request, Retries, Step, ask, pause
from kingpost.records import FileRef

PIECE = 8 << 20  # bytes of one request
CHECK_SECONDS = 1800.0  # until the server has checked what is large
OTHERS_SECONDS = 1.0  # between two looks at an upload that somebody else sends


READ = 1 << 20  # bytes that are read at once
PLACE = "/v1/uploads"
OF_AN_OUTPUT = re.compile(r"/v1/files/[A-Za-z0-9_-][A-Za-z0-9_.~-]*")


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


def upload(
    path: Path | str, *, progress: Callable[[int, int], None] | None = None
) -> Flow[FileRef]:
    """Uploads a file of any size and returns a reference, which may stand anywhere in an input: the model gets a path.

    `progress` is called with the bytes that have arrived, and with all. An upload that broke off, also in another process, goes on
    where it ended.
    """
    file = Path(path)
    size, digest = file.stat().st_size, _digest(file)
    offer = _json({"size": size, "name": file.name[-255:], "sha256": digest})

    def begin(known: str) -> Request:
        if known:
            return Request("GET", f"{PLACE}/{known}")
        return Request("POST", PLACE, headers=JSON, content=offer)

    talk: Conversation[dict[str, Any]] = Conversation(
        sending(begin, PLACE, partial(_content, file), size)
    )
    try:
        while (step := talk.step()) is not None:
            if not isinstance(step, Emit):
                try:
                    outcome = yield step
                except Exception as error:
                    talk.fail(error)
                else:
                    talk.answer(outcome)
                continue
            sent: Sent = step.value
            if progress:
                progress(sent.done, sent.total)
            talk.answer(None)
    finally:
        talk.close()
    return FileRef.of(talk.result)


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _content(file: Path, offset: int) -> Iterator[bytes]:
    with file.open("rb") as opened:
        opened.seek(offset)
        while piece := opened.read(READ):
            yield piece


def download(file: Mapping[str, Any] | str, path: Path | str) -> Flow[Path]:
    """Writes a file of an output into `path`. `file` is what stands for it in the output, or its `url`."""
    url = file if isinstance(file, str) else file.get("url")
    if not isinstance(url, str) or not OF_AN_OUTPUT.fullmatch(url):  # a model wrote it
        raise NotConfigured(f"{url!r} is not the URL of a file of an output.")
    yield from ask(Request("GET", url, read_seconds=QUIET_SECONDS), opened=True)
    with Path(path).open("wb") as out:
        while data := (yield from _read()):
            out.write(data)
    return Path(path)

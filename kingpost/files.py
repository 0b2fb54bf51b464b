"""Files by reference: they are uploaded for an input and downloaded from an output. `sending` is an upload of any kind that can go on where it ended."""

import hashlib
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kingpost.calls import JSON, QUIET_SECONDS, json_body, json_object, read_on
from kingpost.errors import Conflict, NotConfigured, NotFound, Unreachable
from kingpost.flow import Conversation, Emit, Flow, Pause, Request, Retries, Step, ask, pause
from kingpost.records import FileRef

PIECE = 8 << 20  # bytes of one request
# How long the last answer may take: the server first checks the whole content.
CHECK_SECONDS = 1800.0
PIECE_SECONDS = 60.0  # how long any other answer may take
OTHERS_SECONDS = 1.0  # between two looks at an upload that somebody else sends
LONGEST_NAME = 255  # characters that the server takes
READ = 1 << 20  # bytes that are read at once
PLACE = "/v1/uploads"  # the path of uploads for inputs
OF_AN_OUTPUT = re.compile(r"/v1/files/[A-Za-z0-9_-][A-Za-z0-9_.~-]*")


@dataclass(frozen=True)
class Sent:
    """How many bytes have arrived, and how many there are."""

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

    `content(offset)` gives the bytes from there on, of `total` in all. `begin` makes the request that asks where to send to; its
    argument is the id of the upload, empty while that is not known. The pieces go to `place/ID`. Raises Unreachable if the upload
    breaks off again and again.
    """
    # Tries in a row that brought nothing, the last offset, the id.
    failed, before, known = 0, -1, ""
    while True:
        try:
            said = json_object((yield from ask(begin(known))))
        except NotFound:
            if not known:
                raise
            known = ""  # the server has dropped the upload: begin anew
            continue
        if said["stored"]:
            yield Emit(Sent(total, total))
            return said
        at = said.get("upload") or said
        known = at["id"]
        yield Emit(Sent(at["offset"], total))
        if at["active"]:
            # Somebody else sends it, or the server has not yet noticed that our connection broke.
            yield Pause(OTHERS_SECONDS)
            continue
        failed = 0 if at["offset"] > before else failed + 1
        if failed > (yield Retries()):
            raise Unreachable("The upload breaks off again and again; send it again to go on.")
        before = at["offset"]
        yield Pause(pause(failed) if failed else 0)
        last = yield from _send_rest(f"{place}/{known}", at["offset"], content, total)
        if last.get("stored"):
            return last


def _send_rest(
    place: str, offset: int, content: Callable[[int], Iterator[bytes]], total: int
) -> Sending:
    """Sends the rest of an upload. Returns the last answer, or {} if it broke off. Then the server has to be asked where it goes on."""
    said: Where = {}
    for piece in pieces_of(content(offset)):
        headers = {"content-type": "application/octet-stream", "upload-offset": str(offset)}
        request = Request(
            "PATCH",
            place,
            headers=headers,
            content=piece,
            repeatable=False,
            read_seconds=CHECK_SECONDS if offset + len(piece) == total else PIECE_SECONDS,
        )
        try:
            said = json_object((yield from ask(request)))
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

    `progress` is called with the number of bytes that have arrived, and of all. An upload that broke off, also in another process, goes on
    where it ended.
    """
    file = Path(path)
    size, digest = file.stat().st_size, _digest(file)
    offer = json_body({"size": size, "name": file.name[-LONGEST_NAME:], "sha256": digest})

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
    """Writes a file of an output into `path`. `file` is what stands for it in the output, or its `url`. Raises NotConfigured for anything else."""
    url = file if isinstance(file, str) else file.get("url")
    # A model wrote it, so it may be anything.
    if not isinstance(url, str) or not OF_AN_OUTPUT.fullmatch(url):
        raise NotConfigured(f"{url!r} is not the URL of a file of an output.")
    yield from ask(Request("GET", url, read_seconds=QUIET_SECONDS), opened=True)
    with Path(path).open("wb") as out:
        while data := (yield from read_on()):
            out.write(data)
    return Path(path)

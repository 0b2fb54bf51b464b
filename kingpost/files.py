"""Uploads a file, so that an input can refer to it."""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from kingpost.calls import JSON, _json
from kingpost.flow import Conversation, Emit, Flow, Request
from kingpost.records import FileRef
from kingpost.uploading import Sent, sending

READ = 1 << 20  # bytes that are read at once
PLACE = "/v1/uploads"


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

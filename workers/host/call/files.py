"""The files of a call: received before the input, kept in a folder of the call, and removed when it has ended."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

from starlette.types import Receive

from deployments.attached import MARK, Attached, replaced
from workers.host.errors import (
    ClientGone,
    FilesNotSent,
    FilesNotStored,
    FilesRefused,
    HostError,
    OutputFile,
)

WRITTEN_AT_ONCE = 1 << 20  # bytes that one turn of a thread writes


class CallFiles:
    """The paths of a call's files by their ids, and the folder that holds them. A call without files has no folder."""

    def __init__(self, paths: dict[str, Path] | None = None, folder: Path | None = None) -> None:
        self.paths = paths or {}
        self._folder = folder

    def in_place(self, value: Any, raw: bytes) -> Any:
        """The input with the path of its file in place of each reference; `raw` is the JSON. Raises FilesNotSent."""
        if self.paths:
            return replaced(value, self.paths.__getitem__)
        if MARK in raw:
            replaced(value, _raise_not_sent)
        return value

    async def remove(self) -> None:
        """Removes the files."""
        if self._folder:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)


NO_FILES = CallFiles()


def _raise_not_sent(_: str) -> Any:
    raise FilesNotSent


async def chunks_of(receive: Receive) -> AsyncGenerator[bytes]:
    """The body as it comes. Raises ClientGone if the client leaves in the middle."""
    while (message := await receive())["type"] == "http.request":
        if chunk := message.get("body", b""):
            yield chunk
        if not message.get("more_body"):
            return
    raise ClientGone("reading the request")


async def received(
    receive: Receive, files: Sequence[Attached], parent: Path | None
) -> tuple[CallFiles, bytes]:
    """The files, which come first, and the rest of the body.

    Raises ClientGone, FilesNotStored, and FilesRefused without a `parent`. After an error no file is left.
    """
    chunks = chunks_of(receive)
    try:
        if parent is None:
            raise FilesRefused
        return await _received(chunks, files, parent)
    except HostError:
        async for _ in chunks:  # a sender reads the answer only after it has sent everything
            pass
        raise


async def _received(
    chunks: AsyncGenerator[bytes], files: Sequence[Attached], parent: Path
) -> tuple[CallFiles, bytes]:
    call_files = NO_FILES
    try:
        folder = await asyncio.to_thread(_folder_in, parent)
        call_files = CallFiles({file.id: folder / _name(file) for file in files}, folder)
        body = _Body(chunks)
        for file in files:
            await _write_file(body, call_files.paths[file.id], file.size)
        return call_files, await body.rest()
    except BaseException as error:
        await call_files.remove()
        if isinstance(error, OSError):
            raise FilesNotStored(error) from error
        raise


def _folder_in(parent: Path) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=parent))


def _name(file: Attached) -> str:
    """The file's name: its id and ending. Both have letters and digits only, so it is no path."""
    return f"{file.id}.{file.ending}" if file.ending else file.id


class _Body:
    """The body of a call, read piece by piece: the files one after the other, then the input."""

    def __init__(self, chunks: AsyncGenerator[bytes]) -> None:
        self._chunks = chunks
        self._held = b""

    async def next(self, most: int) -> bytes:
        """The next bytes, at most `most`. Raises ClientGone if the body has ended."""
        chunk = self._held or await anext(self._chunks, b"")
        if not chunk:
            raise ClientGone("reading the files")
        self._held = chunk[most:]
        return chunk[:most]

    async def rest(self) -> bytes:
        """All bytes that were not read yet."""
        return b"".join([self._held, *[chunk async for chunk in self._chunks]])


async def _write_file(body: _Body, path: Path, size: int) -> None:
    """Writes the next `size` bytes of the body into a new file, which is then read-only."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    try:
        left = size
        while left:
            pieces: list[bytes] = []
            held = 0
            while left and held < WRITTEN_AT_ONCE:
                pieces.append(await body.next(left))
                held, left = held + len(pieces[-1]), left - len(pieces[-1])
            await asyncio.to_thread(_write, handle, b"".join(pieces))
    finally:
        os.close(handle)


async def contents(files: Sequence[OutputFile]) -> AsyncGenerator[bytes]:
    """The bytes of output files, one after the other. Raises OSError for one that became shorter."""
    for file in files:
        if isinstance(file.content, bytes):
            if file.content:
                yield file.content
            continue
        with await asyncio.to_thread(file.content.open, "rb") as opened:
            left = file.size
            while left:
                piece = await asyncio.to_thread(opened.read, min(WRITTEN_AT_ONCE, left))
                if not piece:
                    raise OSError(f"{file.content} became shorter while it was sent")
                left -= len(piece)
                yield piece


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]

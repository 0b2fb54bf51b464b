"""Stores inputs and outputs that are too large for Redis: in a folder, or in an S3-compatible bucket.

The job store records a payload before it is written (`verbs.spill`). The script that makes it part of a job adopts it. The
sweeper deletes payloads that a crash left without a job; they are in the store's `garbage`.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from tasks.errors import NotFound, PayloadUnavailable, SettingsError
from tasks.settings import Settings

if TYPE_CHECKING:
    from obstore import BytesStream

PIECE = 1 << 20  # bytes of a payload that are in memory while it is read
PART = 8 << 20  # bytes of a part in an S3 multipart upload; S3 asks for at least 5 MiB
PARTS_AT_ONCE = 2
SCHEMES = ("file://", "s3://")
INPUT_MS = 3_600_000  # after this time an input without a job is garbage: its submit never came


def input_ref(request_id: str) -> str:
    """The name of a job's input in the payload store."""
    return f"inputs/{request_id[:2]}/{request_id}"


def output_ref(request_id: str, fence: str) -> str:
    """The name of an attempt's output in the payload store. Each attempt has its own."""
    return f"outputs/{request_id[:2]}/{request_id}.{fence}"


def output_ms(settings: Settings) -> int:
    """The time after which an output without a job is deleted. It is longer than any attempt can take."""
    return int(settings.predict_timeout_seconds * 2000) + INPUT_MS


@contextlib.contextmanager
def _available() -> Generator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound("The payload is not in the payload store any more.") from error
    except (BaseError, OSError, ValueError) as error:
        raise PayloadUnavailable(f"The payload store cannot serve: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0][:300]


class Payloads:
    """The payload store. It opens at the first use. Methods raise PayloadUnavailable; those that read also raise NotFound."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.payload_url
        self._folder = settings.state_dir.resolve() / "payloads"
        if self._url.startswith("file://"):
            self._folder = Path(self._url.removeprefix("file://"))
        self._opened: ObjectStore | None = None
        if self._url and not self._url.startswith(SCHEMES):
            raise SettingsError(
                "KINGPOST_PAYLOAD_URL must be file:///folder or s3://bucket/prefix "
                f"(got {self._url!r})."
            )

    async def write(self, ref: str, payload: bytes) -> None:
        """Stores a payload that is complete in memory."""
        with _available():
            store = self._store()
            await obstore.put_async(store, ref, payload)
            await asyncio.to_thread(_to_disk, store, ref)

    async def copy(self, ref: str, to: str) -> None:
        """Stores the same payload under another name. Raises NotFound too."""
        with _available():
            store = self._store()
            await obstore.copy_async(store, ref, to)
            await asyncio.to_thread(_to_disk, store, to)

    async def write_piece(self, ref: str, piece: bytes) -> None:
        """Stores a piece of an upload. It is not forced to the disk, so a power failure may lose it: the whole is checked later."""
        with _available():
            await obstore.put_async(self._store(), ref, piece)

    def writer(self, ref: str) -> "PayloadWriter":
        """Opens a payload that is written piece by piece."""
        return PayloadWriter(self._store(), ref)

    def read(self, ref: str) -> Iterator[bytes]:
        """The payload in pieces. Errors of opening are raised at once."""
        with _available():
            stream = obstore.get(self._store(), ref).stream(PIECE)
        return _pieces(stream)

    async def read_async(self, ref: str) -> AsyncGenerator[bytes]:
        """The same for asyncio. Errors of opening are raised at once."""
        with _available():
            stream = (await obstore.get_async(self._store(), ref)).stream(PIECE)
        return _pieces_async(stream)

    async def read_whole(self, ref: str) -> bytes:
        """The payload at once, for one whose size the caller has bounded."""
        return b"".join([piece async for piece in await self.read_async(ref)])

    async def read_part(self, ref: str, start: int, end: int) -> AsyncGenerator[bytes]:
        """The bytes from `start` up to `end`, which does not belong to them. Errors of opening are raised at once."""
        with _available():
            found = await obstore.get_async(self._store(), ref, options={"range": (start, end)})
            stream = found.stream(PIECE)
        return _pieces_async(stream)

    def has(self, ref: str) -> bool:
        """Whether that payload exists."""
        try:
            with _available():
                obstore.head(self._store(), ref)
        except NotFound:
            return False
        return True

    async def listed(self, folder: str) -> AsyncGenerator[tuple[str, float]]:
        """The payloads in a folder, with the Unix time of their last change."""
        with _available():
            async for batch in obstore.list(self._store(), f"{folder}/"):
                for found in batch:
                    yield found["path"], found["last_modified"].timestamp()

    async def delete(self, refs: list[str]) -> None:
        """Deletes payloads. Those that are gone already are ignored."""
        for ref in refs:
            with contextlib.suppress(NotFound), _available():
                await obstore.delete_async(self._store(), ref)

    def _store(self) -> ObjectStore:
        if self._opened is None:
            with _available():
                bucket = self._url.startswith("s3://")
                self._opened = (
                    from_url(self._url) if bucket else LocalStore(self._folder, mkdir=True)
                )
        return self._opened


class PayloadWriter:
    """A payload that is being written. It exists only after `close`."""

    def __init__(self, store: ObjectStore, ref: str) -> None:
        self._store, self._ref = store, ref
        with _available():
            self._file = obstore.open_writer(
                store, ref, buffer_size=PART, max_concurrency=PARTS_AT_ONCE
            )

    def write(self, piece: bytes) -> None:
        """Appends. Raises PayloadUnavailable."""
        with _available():
            self._file.write(piece)

    def close(self) -> None:
        """Completes the payload. Raises PayloadUnavailable."""
        with _available():
            self._file.close()
            _to_disk(self._store, self._ref)


def _to_disk(store: ObjectStore, ref: str) -> None:
    """Waits until the file is on the disk. The library only renames a finished file into its place."""
    if isinstance(store, LocalStore) and store.prefix:
        path = store.prefix / ref
        for place in (path, path.parent, path.parent.parent):
            handle = os.open(place, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _pieces(stream: "BytesStream") -> Iterator[bytes]:
    with _available():
        for piece in stream:
            yield bytes(piece)


async def _pieces_async(stream: "BytesStream") -> AsyncGenerator[bytes]:
    with _available():
        async for piece in stream:
            yield bytes(piece)

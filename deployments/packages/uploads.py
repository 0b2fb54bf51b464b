"""Takes packages that come over HTTP in pieces, as tus and the IETF's resumable uploads do.

Each piece is a payload, and the store knows which pieces an upload has. So any API process can continue an upload, and what has
arrived stays when a connection breaks. When the last piece is there, the archive is checked and becomes a stored package.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import replace

from deployments.packages import archive
from deployments.packages.archive import Limits, verify
from deployments.packages.store import package_ref
from deployments.registry import packages as registry
from deployments.registry.packages import Upload, UploadTaken
from kingpost.packing.config_file import PackageError
from tasks.errors import KingpostError, NotFound, PayloadUnavailable
from tasks.payloads import Payloads
from tasks.process.logs import get_logger
from tasks.process.loops import Guard
from tasks.settings import Settings
from tasks.store.job_store import AsyncJobStore

log = get_logger("uploads")

PIECES = "uploads"  # the folder of the payload store
PIECE = 4 << 20  # bytes; what is held of an upload
CHECKS_AT_ONCE = 2  # archives that are read in one process
ALIVE_SECONDS = 10.0  # between two signs of life while an archive is checked
WAIT_SECONDS = 0.2  # between two looks whether an old package is gone


class PackageRefused(KingpostError):
    """The uploaded archive is not a package."""


class Uploads:
    """The uploads of one API process. Methods raise StoreUnavailable and PayloadUnavailable."""

    def __init__(self, store: AsyncJobStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._payloads = Payloads(settings)
        self._limits = Limits.of(settings)
        self._checks = asyncio.Semaphore(CHECKS_AT_ONCE)

    async def is_stored(self, content_hash: str) -> bool:
        """Whether the package is stored. If it is, it is kept for a while, also without a deployment."""
        while True:
            if await self._store.run(registry.keep_package(content_hash)):
                break
            await asyncio.sleep(WAIT_SECONDS)
        return await asyncio.to_thread(self._payloads.has, package_ref(content_hash))

    async def open(self, api_key: str, content_hash: str, size: int) -> Upload:
        """The key's unfinished upload of that package, or a new one. Raises UploadsFull and PackageRefused."""
        try:
            self._limits.check(0, size)
        except PackageError as error:
            raise PackageRefused(str(error)) from None
        return await self._store.run(
            registry.open_upload(api_key, content_hash, size, self._settings)
        )

    async def find(self, api_key: str, upload_id: str) -> Upload:
        """An upload of that key. Raises NotFound."""
        return await self._store.run(registry.upload(upload_id, api_key))

    async def give_up(self, api_key: str, upload_id: str) -> Upload:
        """Drops an upload of that key. Raises NotFound."""
        upload = await self.find(api_key, upload_id)
        await self._drop(upload.id, await self._store.run(registry.upload_pieces(upload.id)))
        return upload

    async def append(
        self, api_key: str, upload_id: str, offset: int, chunks: AsyncIterator[bytes]
    ) -> Upload:
        """Appends what comes, and returns how far the upload is. The last byte makes it a stored package.

        Raises NotFound, WrongOffset, UploadTaken and PackageRefused. After the last one nothing is left of the upload.
        """
        sender = secrets.token_hex(8)
        call = registry.claim_upload(upload_id, api_key, sender, offset)
        upload = await self._store.run(call)
        try:
            upload = await self._receive(upload, sender, chunks)
            if upload.offset == upload.size:
                await self._complete(upload, sender)
        finally:
            await self._store.run(registry.leave_upload(upload.id, sender))
        return upload

    async def _receive(self, upload: Upload, sender: str, chunks: AsyncIterator[bytes]) -> Upload:
        async for piece in pieces_of(chunks):
            ref = f"{PIECES}/{upload.id}.{upload.offset:015d}.{sender}"
            await self._payloads.write_piece(ref, piece)
            call = registry.advance_upload(upload.id, sender, len(piece), ref)
            if not await self._store.run(call):
                await self._payloads.delete([ref])
                raise UploadTaken
            upload = replace(upload, offset=upload.offset + len(piece))
        return upload

    async def _complete(self, upload: Upload, sender: str) -> None:
        refs = await self._store.run(registry.upload_pieces(upload.id))
        alive = asyncio.create_task(self._show_life(upload.id, sender))
        try:
            async with self._checks:
                await asyncio.to_thread(self._check_and_store, upload.content_hash, refs)
        except (PackageError, NotFound) as error:
            await self._drop(upload.id, refs)
            lost = "Pieces of the upload are lost; push again."
            raise PackageRefused(lost if isinstance(error, NotFound) else str(error)) from None
        finally:
            alive.cancel()
        await self.is_stored(upload.content_hash)  # for a deployment that comes soon
        await self._drop(upload.id, refs)
        log.info("package.stored", content_hash=upload.content_hash, bytes=upload.size)

    async def take(self, refs: Sequence[str], keep: bool = True) -> str:
        """Checks an archive whose pieces have all come, and stores it unless `keep` is false. Returns its content hash.

        Raises PackageRefused.
        """
        async with self._checks:
            try:
                found = await asyncio.to_thread(
                    archive.content_hash, self._read(refs), self._limits
                )
            except PackageError as error:
                raise PackageRefused(str(error)) from None
            if keep and not await self.is_stored(found):
                await asyncio.to_thread(self._store_package, found, refs)
                await self.is_stored(found)  # for a deployment that comes soon
                log.info("package.stored", content_hash=found)
        return found

    async def _show_life(self, upload_id: str, sender: str) -> None:
        guard = Guard("a sign of life of an upload", ALIVE_SECONDS)
        while True:
            await asyncio.sleep(ALIVE_SECONDS)
            with guard.round():  # a stall of the store must not end them
                await self._store.run(registry.advance_upload(upload_id, sender))

    def _check_and_store(self, content_hash: str, refs: Sequence[str]) -> None:
        """Reads the pieces twice: a package that is stored was checked as a whole."""
        verify(self._read(refs), content_hash, self._limits)
        self._store_package(content_hash, refs)

    def _store_package(self, content_hash: str, refs: Sequence[str]) -> None:
        writer = self._payloads.writer(package_ref(content_hash))
        for piece in self._read(refs):
            writer.write(piece)
        writer.close()

    def _read(self, refs: Sequence[str]) -> Iterator[bytes]:
        for ref in refs:
            yield from self._payloads.read(ref)

    async def _drop(self, upload_id: str, refs: list[str]) -> None:
        await self._store.run(registry.close_upload(upload_id))
        with contextlib.suppress(PayloadUnavailable):  # the collector deletes them later
            await self._payloads.delete(refs)


async def pieces_of(chunks: AsyncIterator[bytes], size: int = PIECE) -> AsyncGenerator[bytes]:
    """The chunks in pieces of that many bytes, or a little more; the last one may be smaller."""
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        if len(held) >= size:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)

"""Takes what comes over HTTP in pieces, as tus and the IETF's resumable uploads do: packages, and files for inputs.

Each piece is a payload, and the store knows which pieces an upload has. So any API process can continue an upload, and what has
arrived stays when a connection breaks. When the last piece is there, a subclass checks and stores the whole.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import replace

from tasks.errors import KingpostError, NotFound, PayloadUnavailable
from tasks.files import verbs
from tasks.files.verbs import Kind, Upload, UploadTaken
from tasks.payloads import Payloads
from tasks.process.loops import Guard
from tasks.settings import Settings
from tasks.store.job_store import AsyncJobStore

PIECES = "uploads"  # the folder of the payload store
PIECE = 4 << 20  # bytes of an upload that are in memory
CHECKS_AT_ONCE = 2  # uploads that one process reads and stores at the same time
ALIVE_SECONDS = 10.0  # between two signs of life while an upload is checked


class UploadRefused(KingpostError):
    """What was uploaded is not what it should be."""


class Receiver:
    """The uploads of one kind in one API process. Methods raise StoreUnavailable and PayloadUnavailable."""

    kind: Kind
    lost: str  # the message of UploadRefused when pieces are gone

    def __init__(self, store: AsyncJobStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._payloads = Payloads(settings)
        self._checks = asyncio.Semaphore(CHECKS_AT_ONCE)

    async def find(self, api_key: str, upload_id: str) -> Upload:
        """An upload of that key. Raises NotFound."""
        return await self._store.run(verbs.upload(upload_id, api_key, self.kind))

    async def give_up(self, api_key: str, upload_id: str) -> Upload:
        """Drops an upload of that key. Raises NotFound."""
        upload = await self.find(api_key, upload_id)
        await self._drop(upload.id, await self._store.run(verbs.upload_pieces(upload.id)))
        return upload

    async def append(
        self, api_key: str, upload_id: str, offset: int, chunks: AsyncIterator[bytes]
    ) -> Upload:
        """Appends what comes, and returns how far the upload is. After the last byte the whole is checked and stored.

        Raises NotFound, WrongOffset, UploadTaken and UploadRefused. After UploadRefused nothing is left of the upload.
        """
        sender = secrets.token_hex(8)
        call = verbs.claim_upload(upload_id, api_key, self.kind, sender, offset)
        upload = await self._store.run(call)
        try:
            upload = await self._receive(upload, sender, chunks)
            if upload.offset == upload.size:
                await self._complete(upload, api_key, sender)
        finally:
            await self._store.run(verbs.leave_upload(upload.id, sender))
        return upload

    async def _keep(self, upload: Upload, api_key: str, refs: Sequence[str]) -> None:
        """Stores the whole. Raises UploadRefused, and NotFound if pieces are gone."""
        raise NotImplementedError

    async def _receive(self, upload: Upload, sender: str, chunks: AsyncIterator[bytes]) -> Upload:
        async for piece in pieces_of(chunks):
            ref = f"{PIECES}/{upload.id}.{upload.offset:015d}.{sender}"
            await self._payloads.write_piece(ref, piece)
            call = verbs.advance_upload(upload.id, sender, len(piece), ref)
            if not await self._store.run(call):
                await self._payloads.delete([ref])
                raise UploadTaken
            upload = replace(upload, offset=upload.offset + len(piece))
        return upload

    async def _complete(self, upload: Upload, api_key: str, sender: str) -> None:
        refs = await self._store.run(verbs.upload_pieces(upload.id))
        alive = asyncio.create_task(self._show_life(upload.id, sender))
        try:
            async with self._checks:
                await self._keep(upload, api_key, refs)
        except (UploadRefused, NotFound) as error:
            await self._drop(upload.id, refs)
            raise UploadRefused(self.lost if isinstance(error, NotFound) else str(error)) from None
        finally:
            alive.cancel()
        await self._drop(upload.id, refs)

    async def _show_life(self, upload_id: str, sender: str) -> None:
        guard = Guard("a sign of life of an upload", ALIVE_SECONDS)
        while True:
            await asyncio.sleep(ALIVE_SECONDS)
            with guard.round():  # a stall of the store must not end the signs of life
                await self._store.run(verbs.advance_upload(upload_id, sender))

    def _read(self, refs: Sequence[str]) -> Iterator[bytes]:
        for ref in refs:
            yield from self._payloads.read(ref)

    async def _drop(self, upload_id: str, refs: list[str]) -> None:
        await self._store.run(verbs.close_upload(upload_id))
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

"""Takes packages that come as an object of S3: at once, or in parts that arrive in any order.

Each part is written as payloads, and the store knows which parts a transfer has. So any API process can take the next part.
When the object is complete, the archive is checked and becomes a stored package.
"""

import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import replace

from deployments.packages.uploads import PackageRefused, Uploads
from tasks.errors import NotFound, PayloadUnavailable
from tasks.files import transfers as verbs
from tasks.files.receiving import PIECES, pieces_of
from tasks.files.transfers import Part, Purpose, Transfer
from tasks.payloads import Payloads
from tasks.settings import Settings
from tasks.store.job_store import AsyncJobStore

PIECE = 1 << 20  # bytes of a part that are in memory; a client sends ten parts at once
MOST_OF_PART = 64 << 20  # bytes; boto3's parts have 8 MiB
MOST_PARTS = 10_000  # as S3


class Transfers:
    """The transfers of one API process. Methods raise StoreUnavailable and PayloadUnavailable."""

    def __init__(self, store: AsyncJobStore, uploads: Uploads, settings: Settings) -> None:
        self._store = store
        self._uploads = uploads
        self._settings = settings
        self._payloads = Payloads(settings)

    async def open(self, api_key: str, purpose: Purpose) -> Transfer:
        """A new transfer for that key. Raises UploadsFull."""
        fresh = Transfer(secrets.token_hex(16), api_key, secrets.token_urlsafe(32), purpose)
        call = verbs.open_transfer(fresh.id, api_key, fresh.secret, purpose, self._settings)
        await self._delete(await self._store.run(call))
        return fresh

    async def find(self, transfer_id: str) -> Transfer:
        """The transfer without its parts. Raises NotFound."""
        return await self._store.run(verbs.transfer(transfer_id))

    async def add(self, transfer: Transfer, number: int, chunks: AsyncIterator[bytes]) -> Part:
        """Takes a part, as far as there is room for it. Raises UploadsFull and NotFound, and what the chunks raise."""
        digest, reserved, refs = hashlib.md5(usedforsecurity=False), 0, list[str]()
        sender = secrets.token_hex(8)
        try:
            async for piece in pieces_of(chunks, PIECE):
                await self._store.run(verbs.reserve_part(transfer.id, len(piece), self._settings))
                reserved += len(piece)
                ref = f"{PIECES}/{transfer.id}.{number:05d}.{len(refs):03d}.{sender}"
                refs.append(ref)
                await self._payloads.write_piece(ref, piece)
                digest.update(piece)
            part = Part(reserved, digest.hexdigest(), tuple(refs))
            call = verbs.add_part(transfer.id, number, part, self._settings, reserved)
            replaced = await self._store.run(call)
        except BaseException:
            with contextlib.suppress(NotFound):
                await self._store.run(verbs.reserve_part(transfer.id, -reserved, self._settings))
            with contextlib.suppress(PayloadUnavailable):  # often the error that came first
                await self._payloads.delete(refs)
            raise
        await self._delete([replaced] if replaced else [])
        return part

    async def complete(self, transfer_id: str, listed: Mapping[int, str] | None = None) -> Transfer:
        """Checks and stores the package. `listed` has the numbers of the parts that the client has sent, with their MD5.

        Raises PackageRefused, also for a client that asks again, and NotFound.
        """
        known = await self._store.run(verbs.transfer(transfer_id, with_parts=True))
        if known.refused:
            raise PackageRefused(known.refused)
        if known.content_hash:
            return known
        if listed is not None and listed != {n: part.md5 for n, part in known.parts.items()}:
            raise PackageRefused("The parts that arrived are not those that were sent; push again.")
        refs = [ref for _, part in sorted(known.parts.items()) for ref in part.refs]
        try:
            found = await self._uploads.take(refs, known.purpose == "package")
        except PackageRefused as error:
            await self._end(known, refused=str(error))
            raise
        except NotFound:  # a second call for the same object was faster
            return await self.find(transfer_id)
        await self._end(known, content_hash=found)
        return replace(known, content_hash=found)

    async def give_up(self, transfer_id: str) -> None:
        """Drops what has arrived. Raises NotFound."""
        known = await self._store.run(verbs.transfer(transfer_id, with_parts=True))
        if not known.ended:
            await self._end(known, refused="The transfer was given up.")

    async def content_hash(self, api_key: str, transfer_id: str) -> str:
        """The package that came with a transfer of that key. Raises NotFound."""
        known = await self.find(transfer_id)
        if known.api_key != api_key or not known.content_hash:
            raise NotFound("No package was uploaded under this s3_key; push again.")
        return known.content_hash

    async def _end(self, known: Transfer, content_hash: str = "", refused: str = "") -> None:
        await self._store.run(verbs.end_transfer(known.id, content_hash, refused))
        await self._delete(known.parts.values())

    async def _delete(self, parts: Iterable[Part]) -> None:
        await self._payloads.delete([ref for part in parts for ref in part.refs])

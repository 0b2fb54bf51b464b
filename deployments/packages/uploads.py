"""Packages that come over HTTP. After the last piece the archive is checked and becomes a stored package."""

import asyncio
from collections.abc import Sequence

from deployments.packages import archive
from deployments.packages.archive import Limits, verify
from deployments.packages.store import package_ref
from deployments.registry import packages as registry
from kingpost.packing.config_file import PackageError
from tasks.files import verbs
from tasks.files.receiving import Receiver, UploadRefused
from tasks.files.verbs import Upload
from tasks.process.logs import get_logger
from tasks.settings import Settings
from tasks.store.job_store import AsyncJobStore

log = get_logger("uploads")

WAIT_SECONDS = 0.2  # between two looks whether an old package is gone


class PackageRefused(UploadRefused):
    """The uploaded archive is not a package."""


class Uploads(Receiver):
    """The uploads of packages in one API process. Methods raise StoreUnavailable and PayloadUnavailable."""

    kind = "package"
    lost = "Pieces of the upload are lost; push again."

    def __init__(self, store: AsyncJobStore, settings: Settings) -> None:
        super().__init__(store, settings)
        self._limits = Limits.of(settings)

    async def is_stored(self, content_hash: str) -> bool:
        """Whether the package is stored. If it is, it is kept for `package_grace_seconds`, also without a deployment."""
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
        call = verbs.open_upload(api_key, self.kind, content_hash, size, self._settings)
        return await self._store.run(call)

    async def _keep(self, upload: Upload, api_key: str, refs: Sequence[str]) -> None:  # noqa: ARG002
        try:
            await asyncio.to_thread(self._check_and_store, upload.what, refs)
        except PackageError as error:
            raise PackageRefused(str(error)) from None
        await self.is_stored(upload.what)  # for a deployment that comes soon
        log.info("package.stored", content_hash=upload.what, bytes=upload.size)

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

    def _check_and_store(self, content_hash: str, refs: Sequence[str]) -> None:
        """Reads the pieces twice: a package that is stored was checked as a whole."""
        verify(self._read(refs), content_hash, self._limits)
        self._store_package(content_hash, refs)

    def _store_package(self, content_hash: str, refs: Sequence[str]) -> None:
        writer = self._payloads.writer(package_ref(content_hash))
        for piece in self._read(refs):
            writer.write(piece)
        writer.close()

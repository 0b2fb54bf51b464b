"""Files that clients upload for the inputs of models."""

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.errors import FileMissing, NotFound, PayloadUnavailable
from tasks.files import verbs
from tasks.files.kinds import HEAD_BYTES, ending_of, sniffed
from tasks.files.receiving import Receiver, UploadRefused
from tasks.files.verbs import EndedFiles, File, Upload
from tasks.payloads import INPUT_MS
from tasks.process.logs import get_logger
from tasks.store.verbs import spill

log = get_logger("files")


def file_ref(file_id: str) -> str:
    """The name of a file in the payload store."""
    return f"files/{file_id[:2]}/{file_id}"


@dataclass(frozen=True)
class UploadedContent:
    """What an upload is, as its record says it: `digest.ending`.

    `digest` is the sha256 of the content, or 32 random hex digits if the client has not said it.
    """

    digest: str
    ending: str = ""

    @property
    def is_known(self) -> bool:
        """Whether the client has said the sha256."""
        return len(self.digest) == 64

    def __str__(self) -> str:
        return f"{self.digest}.{self.ending}"

    @classmethod
    def of(cls, text: str) -> "UploadedContent":
        """The content that such a text means."""
        digest, _, ending = text.partition(".")
        return cls(digest, ending)


class FileUploads(Receiver):
    """The uploads of files in one API process. The id of an upload becomes the id of the file."""

    kind = "file"
    lost = "Pieces of the upload are lost; upload the file again."

    async def open(self, api_key: str, size: int, name: str = "", sha256: str = "") -> Upload:
        """A new upload, or the key's unfinished one of the same content. Raises UploadsFull, FilesFull and UploadRefused."""
        most = self._settings.max_file_bytes
        if size > most:
            raise UploadRefused(f"The file has {size} bytes; a file may have {most}.")
        what = UploadedContent(sha256 or secrets.token_hex(16), ending_of(name))
        call = verbs.open_upload(api_key, self.kind, str(what), size, self._settings)
        return await self._store.run(call)

    async def stored(self, api_key: str, ids: Sequence[str]) -> list[File]:
        """Files of that key that have not expired. Raises FileMissing."""
        return await self._store.run(verbs.find_files(api_key, ids))

    async def expire(self, api_key: str, file_id: str) -> None:
        """Lets a file go: at once, or with the last request that uses it. Raises FileMissing."""
        if not await self._store.run(verbs.expire_file(file_id, api_key)):
            raise FileMissing(file_id)

    async def end_some(self, api_key: str, cursor: str) -> EndedFiles:
        """Lets files of that key go: some that no request uses, and at the end its unfinished uploads of files. `cursor` is '0' at first."""
        step = await self._store.run(verbs.end_files_of(api_key, cursor))
        for upload_id in step.uploads:
            with contextlib.suppress(NotFound):  # it has just ended
                await self.give_up(api_key, upload_id)
        return step

    async def _keep(self, upload: Upload, api_key: str, refs: Sequence[str]) -> None:
        what, ref = UploadedContent.of(upload.what), file_ref(upload.id)
        await self._store.run(spill([ref], INPUT_MS))
        head, digest = await asyncio.to_thread(self._join, ref, refs)
        if what.is_known and digest != what.digest:
            with contextlib.suppress(PayloadUnavailable):  # the collector deletes it later
                await self._payloads.delete(
                    [ref]
                )  # it counts for no key's limit, so it must not stay
            raise UploadRefused(
                f"The file has the sha256 {digest}, not {what.digest}; upload it again."
            )
        left = int(self._settings.file_seconds * 1000)
        content_type, ending = sniffed(head)
        file = File(upload.id, ref, upload.size, what.ending or ending, content_type, left)
        await self._store.run(verbs.keep_file(file, api_key))
        log.info("file.stored", file=upload.id, bytes=upload.size, content_type=content_type)

    def _join(self, ref: str, refs: Sequence[str]) -> tuple[bytes, str]:
        """Writes the pieces into one payload. Returns the first bytes and the sha256."""
        writer, digest, head = self._payloads.writer(ref), hashlib.sha256(), b""
        for piece in self._read(refs):
            head = head if len(head) == HEAD_BYTES else (head + piece)[:HEAD_BYTES]
            digest.update(piece)
            writer.write(piece)
        writer.close()
        return head, digest.hexdigest()

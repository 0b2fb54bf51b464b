"""Files as OpenAI's clients send and fetch them: the input of a batch, and its results."""

import asyncio
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import TypeAdapter

from api import body as bodies
from api.gateway import Caller, Gateway, gateway_of
from api.problems import Problem
from api.routes.batches.forms import FormStream, Head
from api.routes.batches.schemas import FILE, Expiry, FileDeleted, FileObject, FilePage
from api.routes.files.receiving import missing_is_404
from deployments.forms import FormError, boundary_of
from tasks.errors import FileMissing, NotFound
from tasks.files.files import file_ref
from tasks.files.kinds import ending_of
from tasks.files.listed import ListedFile, find_listed, keep_listed, list_files
from tasks.files.verbs import File
from tasks.payloads import INPUT_MS, PayloadWriter
from tasks.store.verbs import spill

router = APIRouter(prefix="/v1/files", tags=["batches"])
PURPOSE = "batch"
MOST_LISTED = 1000  # files of a page: a few milliseconds of the store
MOST_TEXT = 1024  # bytes of a field that is no file
FORM_BYTES = 65_536  # of a form beside its file
JSONL = "application/jsonl"
EXPIRY = TypeAdapter(Expiry)
WRITTEN_AT_ONCE = 1 << 20  # bytes
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": [PURPOSE]},
                    },
                }
            }
        },
    }
}


@dataclass
class _Incoming:
    """A form on its way: its texts, and the file, which is written as it comes."""

    ref: str
    texts: dict[str, bytes] = field(default_factory=dict[str, bytes])
    name: str | None = None  # of the file; None = there is none yet
    size: int = 0
    at: Head = field(default_factory=lambda: Head("", None))
    writer: PayloadWriter | None = None
    held: bytearray = field(default_factory=bytearray)

    def begin(self, head: Head) -> None:
        """A field begins. Raises FormError for a second file."""
        self.at = head
        if head.filename is not None and head.name == "file":
            if self.name is not None:
                raise FormError("it has two files")
            self.name = head.filename

    def take_text(self, piece: bytes) -> None:
        """A piece of a text. Raises FormError for one that is too long."""
        known = self.texts.get(self.at.name, b"") + piece
        if len(known) > MOST_TEXT:
            raise FormError(f"a text has more than {MOST_TEXT} bytes")
        self.texts[self.at.name] = known


@router.post("", response_model=FileObject, openapi_extra=BODY)
async def create(request: Request, key: Caller) -> FileObject:
    """Stores the input of a batch."""
    gateway, file_id = gateway_of(request), secrets.token_hex(16)
    form = await _received(request, gateway, file_ref(file_id))
    if form.texts.get("purpose") != PURPOSE.encode():
        message = "purpose: files for batches are taken here; others go to POST /v1/uploads."
        raise Problem(400, "client_error", message, more={"param": "purpose"})
    name = form.name or ""
    left = int(_seconds(form.texts, gateway) * 1000)
    file = File(file_id, form.ref, form.size, ending_of(name), JSONL, left)
    call = keep_listed(file, key.id, name, PURPOSE, gateway.settings)
    return FileObject.of(await gateway.store.run(call))


@router.get("", response_model=FilePage)
async def listed(
    request: Request,
    key: Caller,
    after: Annotated[str, Query(max_length=64)] = "",
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
    purpose: Annotated[str, Query(max_length=64)] = "",
) -> FilePage:
    """The key's files, newest first, at most 1000 on a page. Files of `POST /v1/uploads` are not among them."""
    limit = min(limit, MOST_LISTED)
    call = list_files(key.id, after.removeprefix(FILE), limit, purpose, order == "asc")
    found = [FileObject.of(file) for file in await gateway_of(request).store.run(call)]
    return FilePage.of(found, limit)


@router.get("/file-{file_id}", response_model=FileObject)
async def retrieve(request: Request, key: Caller, file_id: str) -> FileObject:
    """One file of the key."""
    return FileObject.of(await _found(request, key.id, file_id))


@router.delete("/file-{file_id}", response_model=FileDeleted)
async def delete(request: Request, key: Caller, file_id: str) -> FileDeleted:
    """Lets a file go. A batch that uses it keeps it until it has ended."""
    await _found(request, key.id, file_id)
    with suppress(FileMissing):
        await gateway_of(request).files.expire(key.id, file_id)
    return FileDeleted(id=FILE + file_id)


@router.get(
    "/file-{file_id}/content",
    response_class=Response,
    responses={200: {"content": {JSONL: {}}}},
)
async def content(request: Request, key: Caller, file_id: str) -> Response:
    """The bytes of a file."""
    file = await _found(request, key.id, file_id)
    headers = {"content-length": str(file.size), "content-type": JSONL}
    headers["content-disposition"] = f'attachment; filename="file-{file.id}.jsonl"'
    if not file.size:
        return Response(b"", headers=headers)
    try:
        pieces = await gateway_of(request).payloads.read_async(file.ref)
    except NotFound:
        raise Problem(404, "client_error", f"The file file-{file_id} is gone.") from None
    return StreamingResponse(pieces, headers=headers)


async def _found(request: Request, key_id: str, file_id: str) -> ListedFile:
    with missing_is_404():
        return await gateway_of(request).store.run(find_listed(key_id, file_id))


async def _received(request: Request, gateway: Gateway, ref: str) -> _Incoming:
    """The form, whose file is stored. Raises Problem 400 and 413, and PayloadUnavailable."""
    boundary = boundary_of(request.headers.get("content-type", ""))
    if boundary is None:
        raise Problem(400, "client_error", "Send a form (multipart/form-data).")
    most = gateway.settings.max_batch_file_bytes
    form, stream = _Incoming(ref), FormStream(boundary)
    await gateway.store.run(spill([ref], INPUT_MS))
    try:
        async for chunk in bodies.counted(request, most + FORM_BYTES):
            for found in stream.feed(chunk):
                await _take(form, found, gateway, most)
        if not stream.ended:
            raise FormError("it ends too early")
        if form.name is None:
            raise FormError("the field file is missing")
    except FormError as error:
        raise Problem(400, "client_error", f"Invalid form: {error}.") from None
    await _flush(form, gateway)
    assert form.writer, "_flush opened it"
    await asyncio.to_thread(form.writer.close)
    return form


async def _take(form: _Incoming, found: Head | bytes, gateway: Gateway, most: int) -> None:
    if isinstance(found, Head):
        form.begin(found)
    elif form.at.filename is None or form.at.name != "file":
        form.take_text(found)
    else:
        form.size += len(found)
        if form.size > most:
            raise bodies.too_large(form.size, most)
        form.held += found
        if len(form.held) >= WRITTEN_AT_ONCE:
            await _flush(form, gateway)


async def _flush(form: _Incoming, gateway: Gateway) -> None:
    writer = form.writer = form.writer or gateway.payloads.writer(form.ref)
    await asyncio.to_thread(writer.write, bytes(form.held))
    form.held.clear()


def _seconds(texts: dict[str, bytes], gateway: Gateway) -> float:
    """For how long a file is kept. Raises Problem 400."""
    said = {
        name: texts[field].decode(errors="replace")
        for name in ("anchor", "seconds")
        if (field := f"expires_after[{name}]") in texts
    }
    if not said:
        return gateway.settings.file_seconds
    return bodies.validated(EXPIRY, said).seconds

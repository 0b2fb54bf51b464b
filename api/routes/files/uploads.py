"""Uploads of files for the inputs of models: resumable, of any size. An input then refers to the file."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api.gateway import Caller, gateway_of
from api.problems import Problem
from api.routes.control.deployer import body_of, read_body
from api.routes.files.receiving import (
    MOST_BYTES,
    PIECE,
    Offset,
    UploadView,
    appended,
    missing_is_404,
    progress_of,
)
from deployments.attached import PREFIX
from tasks.errors import NotFound
from tasks.files.receiving import UploadRefused
from tasks.files.verbs import File

HASH = r"^[0-9a-f]{64}$"
LONGEST_NAME = 255  # characters


class FileBody(BaseModel):
    """POST /v1/uploads: a file that the caller has."""

    model_config = ConfigDict(extra="forbid")

    size: Annotated[int, Field(ge=1, le=MOST_BYTES, description="Its bytes.")]
    name: Annotated[
        str,
        Field(max_length=LONGEST_NAME, description="Only its ending, as in `big.png`, is used."),
    ] = ""
    sha256: Annotated[
        str | None,
        Field(
            pattern=HASH,
            description="Of its content: then it is checked, and an unfinished upload of the same content goes on.",
        ),
    ] = None


class FileView(UploadView):
    """A file on its way, or stored: then `expires_at` says until when an input may refer to it.

    `ref` is the text for an input: `{"$ref": ref}`.
    """

    ref: str
    stored: bool
    content_type: str | None = None
    expires_at: datetime | None = None


router = APIRouter(prefix="/v1/uploads", tags=["files"])


@router.post("", status_code=201, response_model=FileView, openapi_extra=body_of(FileBody))
async def open_upload(request: Request, key: Caller) -> FileView:
    """A place to send a file to, in pieces."""
    asked = await read_body(request, FileBody)
    files = gateway_of(request).files
    try:
        upload = await files.open(key.id, asked.size, asked.name, asked.sha256 or "")
    except UploadRefused as error:
        raise Problem(413, "payload_too_large", str(error)) from None
    return _on_its_way(UploadView.of(upload))


@router.patch("/{upload_id}", response_model=FileView, openapi_extra=PIECE)
async def append(
    request: Request, response: Response, key: Caller, upload_id: str, offset: Offset
) -> FileView:
    """Appends bytes of the file at `Upload-Offset`. With the last byte it is stored."""
    files = gateway_of(request).files
    with missing_is_404():
        upload = await appended(request, response, files, key.id, upload_id, int(offset))
    if upload.offset < upload.size:
        return _on_its_way(UploadView.of(upload))
    (file,) = await files.stored(key.id, [upload_id])
    return _stored(file)


@router.get("/{upload_id}", response_model=FileView)
async def show(request: Request, key: Caller, upload_id: str) -> FileView:
    """A file of the caller: how much of it has arrived, or until when it is stored."""
    files = gateway_of(request).files
    with missing_is_404():
        try:
            return _on_its_way(UploadView.of(await files.find(key.id, upload_id)))
        except NotFound:
            (file,) = await files.stored(key.id, [upload_id])
            return _stored(file)


@router.head("/{upload_id}", response_class=Response)
async def progress(request: Request, key: Caller, upload_id: str) -> Response:
    """How much of a file has arrived, in `Upload-Offset`."""
    with missing_is_404():
        return progress_of(await gateway_of(request).files.find(key.id, upload_id))


@router.delete("/{upload_id}", status_code=204)
async def give_up(request: Request, key: Caller, upload_id: str) -> Response:
    """Drops an unfinished upload, or lets a stored file go: requests that use it keep it until they are deleted."""
    files = gateway_of(request).files
    with missing_is_404():
        try:
            await files.give_up(key.id, upload_id)
        except NotFound:
            await files.expire(key.id, upload_id)
    return Response(status_code=204)


def _on_its_way(view: UploadView) -> FileView:
    return FileView(**view.model_dump(), ref=f"{PREFIX}{view.id}", stored=False)


def _stored(file: File) -> FileView:
    return FileView(
        id=file.id,
        offset=file.size,
        size=file.size,
        active=False,
        ref=f"{PREFIX}{file.id}",
        stored=True,
        content_type=file.content_type,
        expires_at=datetime.now(UTC) + timedelta(milliseconds=file.left_ms),
    )

"""Uploads of packages: resumable, by content hash, in the manner of tus and of the IETF's resumable uploads."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api.audit import audited, audits
from api.gateway import gateway_of
from api.problems import Problem
from api.routes.control.deployer import Deployer, body_of, read_body
from api.routes.files.receiving import (
    MOST_BYTES,
    PIECE,
    Offset,
    UploadView,
    appended,
    missing_is_404,
    progress_of,
)
from deployments.packages.uploads import PackageRefused
from tasks.files.receiving import UploadRefused
from tasks.files.verbs import Upload

HASH = r"^[0-9a-f]{64}$"


class OfferBody(BaseModel):
    """POST /v1/packages: a package that the caller has."""

    model_config = ConfigDict(extra="forbid")

    content_hash: Annotated[str, Field(pattern=HASH)]
    size: Annotated[int, Field(ge=1, le=MOST_BYTES, description="Bytes of its tar.")]


class PackageView(BaseModel):
    """A package: stored, or where to send it to."""

    content_hash: str
    stored: bool
    upload: UploadView | None = None


router = APIRouter(prefix="/v1/packages", tags=["packages"])


@router.post("", response_model=PackageView, openapi_extra=body_of(OfferBody))
async def offer(request: Request, key: Deployer) -> PackageView:
    """Tells whether a package is stored. If not, tells where to send it and how much of it has arrived."""
    uploads = gateway_of(request).uploads
    asked = await read_body(request, OfferBody)
    if await uploads.is_stored(asked.content_hash):
        return PackageView(content_hash=asked.content_hash, stored=True)
    try:
        return _view(await uploads.open(key.id, asked.content_hash, asked.size))
    except PackageRefused as error:
        raise Problem(413, "payload_too_large", str(error)) from None


@router.patch("/uploads/{upload_id}", response_model=PackageView, openapi_extra=PIECE)
async def append(
    request: Request, response: Response, key: Deployer, upload_id: str, offset: Offset
) -> PackageView:
    """Appends bytes of the tar at `Upload-Offset`. With the last byte the archive is checked and stored."""
    uploads = gateway_of(request).uploads
    with missing_is_404():
        try:
            upload = await appended(request, response, uploads, key.id, upload_id, int(offset))
        except UploadRefused:
            async with audited(request, key, "package.upload", upload_id):
                raise
    if upload.offset == upload.size:
        async with audited(request, key, "package.upload", upload.what):
            pass
    return _view(upload)


@router.head("/uploads/{upload_id}", response_class=Response)
async def progress(request: Request, key: Deployer, upload_id: str) -> Response:
    """How much of an upload has arrived, in `Upload-Offset`."""
    with missing_is_404():
        return progress_of(await gateway_of(request).uploads.find(key.id, upload_id))


@router.delete(
    "/uploads/{upload_id}",
    response_model=UploadView,
    dependencies=[audits("package.give_up", "deploy")],
)
async def give_up(request: Request, key: Deployer, upload_id: str) -> UploadView:
    """Drops an unfinished upload."""
    with missing_is_404():
        return UploadView.of(await gateway_of(request).uploads.give_up(key.id, upload_id))


def _view(upload: Upload) -> PackageView:
    stored = upload.offset == upload.size
    view = None if stored else UploadView.of(upload)
    return PackageView(content_hash=upload.what, stored=stored, upload=view)

"""Uploads of packages: resumable, by content hash, in the manner of tus and of the IETF's resumable uploads."""

import contextlib
from collections.abc import AsyncGenerator, Generator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from api import body as bodies
from api.audit import audited, audits
from api.gateway import gateway_of
from api.problems import Problem
from api.routes.control.deployer import Deployer, body_of, read_body
from deployments.packages.uploads import PackageRefused
from deployments.registry.packages import Upload
from tasks.errors import NotFound

HASH = r"^[0-9a-f]{64}$"
MOST_BYTES = 2**53 - 1  # that JSON's readers agree on
Offset = Annotated[str, Header(alias="Upload-Offset", pattern=r"^[0-9]{1,15}$")]


class OfferBody(BaseModel):
    """POST /v1/packages: a package that the caller has."""

    model_config = ConfigDict(extra="forbid")

    content_hash: Annotated[str, Field(pattern=HASH)]
    size: Annotated[int, Field(ge=1, le=MOST_BYTES, description="Bytes of its tar.")]


class UploadView(BaseModel):
    """An upload that is not finished; `active` while another connection sends it."""

    id: str
    offset: int
    size: int
    active: bool


class PackageView(BaseModel):
    """A package: stored, or where to send it to."""

    content_hash: str
    stored: bool
    upload: UploadView | None = None


PIECE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
router = APIRouter(prefix="/v1/packages", tags=["packages"])


@router.post("", response_model=PackageView, openapi_extra=body_of(OfferBody))
async def offer(request: Request, key: Deployer) -> PackageView:
    """Tells whether a package is stored, and if not, where to send it to and how much of it has arrived."""
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
    uploads, at = gateway_of(request).uploads, int(offset)
    with _missing_is_404():
        left = (await uploads.find(key.id, upload_id)).size - at
        chunks = _until_it_ends(bodies.counted(request, max(left, 0)))
        try:
            upload = await uploads.append(key.id, upload_id, at, chunks)
        except PackageRefused:
            async with audited(request, key, "package.upload", upload_id):
                raise
    if upload.offset == upload.size:
        async with audited(request, key, "package.upload", upload.content_hash):
            pass
    response.headers["Upload-Offset"] = str(upload.offset)
    return _view(upload)


@router.head("/uploads/{upload_id}")
async def progress(request: Request, key: Deployer, upload_id: str) -> Response:
    """How much of an upload has arrived, in `Upload-Offset`."""
    with _missing_is_404():
        upload = await gateway_of(request).uploads.find(key.id, upload_id)
    said = {"Upload-Offset": upload.offset, "Upload-Length": upload.size}
    headers = {name: str(value) for name, value in said.items()}
    return Response(headers={**headers, "Cache-Control": "no-store"})


@router.delete(
    "/uploads/{upload_id}",
    response_model=UploadView,
    dependencies=[audits("package.give_up", "deploy")],
)
async def give_up(request: Request, key: Deployer, upload_id: str) -> UploadView:
    """Drops an unfinished upload."""
    with _missing_is_404():
        upload = await gateway_of(request).uploads.give_up(key.id, upload_id)
    return _upload(upload)


async def _until_it_ends(chunks: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """The chunks up to the end of the body, or of the connection: what has arrived is kept."""
    with contextlib.suppress(ClientDisconnect):
        async for chunk in chunks:
            yield chunk


@contextlib.contextmanager
def _missing_is_404() -> Generator[None]:
    try:
        yield
    except NotFound as error:
        raise Problem(404, "client_error", str(error)) from None


def _view(upload: Upload) -> PackageView:
    stored = upload.offset == upload.size
    view = None if stored else _upload(upload)
    return PackageView(content_hash=upload.content_hash, stored=stored, upload=view)


def _upload(upload: Upload) -> UploadView:
    return UploadView(id=upload.id, offset=upload.offset, size=upload.size, active=upload.active)

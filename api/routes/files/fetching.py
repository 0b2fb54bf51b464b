"""Files of outputs by their signed URLs: whoever has the URL may read the file until it expires."""

import time

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from api.gateway import Gateway, gateway_of
from api.problems import Problem
from api.routes.files.ranges import Part, part_of
from deployments.output_files import Token
from tasks.errors import FileMissing, NotFound
from tasks.files.kinds import SHOWN
from tasks.files.verbs import File, file_secret, find_files

router = APIRouter(prefix="/v1/files", tags=["files"])
GONE = "There is no such file."
# A browser may show an image, and runs nothing, whatever the file is. The server adds nosniff to every answer.
SAFE = {
    "content-security-policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "cross-origin",
    "referrer-policy": "no-referrer",
    "cache-control": "private, max-age=300",
    "accept-ranges": "bytes",
}
BYTES = {"content": {"application/octet-stream": {}}}


@router.get(
    "/{token}",
    response_class=Response,
    responses={200: BYTES, 206: BYTES, 416: {"description": "The file is shorter."}},
)
@router.head("/{token}", response_class=Response)
async def fetch(request: Request, token: str) -> Response:
    """The file, or a part of it for a `Range`. The URL is its key."""
    gateway = gateway_of(request)
    file = await _found(gateway, token)
    part = part_of(request.headers.get("range", ""), file.size)
    headers = {**SAFE, "content-type": file.content_type, "content-disposition": _shown(file)}
    if part is None:
        headers["content-range"] = f"bytes */{file.size}"
        return Response(status_code=416, headers=headers)
    is_part = part != Part(0, file.size)
    if is_part:
        headers["content-range"] = f"bytes {part.start}-{part.end - 1}/{file.size}"
    headers["content-length"] = str(part.end - part.start)
    status = 206 if is_part else 200
    if request.method == "HEAD" or part.start == part.end:
        return Response(status_code=status, headers=headers)
    try:
        pieces = await gateway.payloads.read_part(file.ref, part.start, part.end)
    except NotFound:
        raise Problem(404, "client_error", GONE) from None
    return StreamingResponse(pieces, status, headers)


async def _found(gateway: Gateway, text: str) -> File:
    token = Token.read(text)
    if token is None or not token.is_genuine(await gateway.store.run(file_secret())):
        raise Problem(404, "client_error", GONE)
    if token.expires <= time.time():
        message = "The URL of this file has expired; ask for the result again, or run it again."
        raise Problem(410, "application_error", message)
    try:
        (file,) = await gateway.store.run(find_files("", [token.file_id]))
    except FileMissing:
        raise Problem(404, "client_error", GONE) from None
    return file


def _shown(file: File) -> str:
    kind = "inline" if file.content_type.startswith(SHOWN) else "attachment"
    name = f"{file.id}.{file.ending}" if file.ending else file.id
    return f'{kind}; filename="{name}"'

"""What the routes of uploads share: packages and files arrive in the same way."""

import contextlib
from collections.abc import AsyncGenerator, Generator
from typing import Annotated, Any

from fastapi import Header, Request, Response
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from api import body as bodies
from api.problems import Problem
from tasks.errors import FileMissing, NotFound
from tasks.files.receiving import Receiver
from tasks.files.verbs import Upload

MOST_BYTES = 2**53 - 1  # the largest integer that every JSON parser reads exactly
Offset = Annotated[str, Header(alias="Upload-Offset", pattern=r"^[0-9]{1,15}$")]
PIECE: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class UploadView(BaseModel):
    """An upload that is not finished; `active` while another connection sends it."""

    id: str
    offset: int
    size: int
    active: bool

    @classmethod
    def of(cls, upload: Upload) -> "UploadView":
        """From the record."""
        return cls(id=upload.id, offset=upload.offset, size=upload.size, active=upload.active)


async def appended(
    request: Request, response: Response, receiver: Receiver, key_id: str, upload_id: str, at: int
) -> Upload:
    """Appends the body to an upload at that offset. Raises NotFound, Problem and what `Receiver.append` raises."""
    left = (await receiver.find(key_id, upload_id)).size - at
    chunks = _until_it_ends(bodies.counted(request, max(left, 0)))
    upload = await receiver.append(key_id, upload_id, at, chunks)
    response.headers["Upload-Offset"] = str(upload.offset)
    return upload


def progress_of(upload: Upload) -> Response:
    """The answer to HEAD: how much has arrived."""
    said = {"Upload-Offset": upload.offset, "Upload-Length": upload.size}
    headers = {name: str(value) for name, value in said.items()}
    return Response(headers={**headers, "Cache-Control": "no-store"})


async def _until_it_ends(chunks: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """The chunks up to the end of the body, or of the connection: what has arrived is kept."""
    with contextlib.suppress(ClientDisconnect):
        async for chunk in chunks:
            yield chunk


@contextlib.contextmanager
def missing_is_404() -> Generator[None]:
    """Turns the errors for an upload or a file that is not there into their answer."""
    try:
        yield
    except (NotFound, FileMissing) as error:
        raise Problem(404, "client_error", str(error)) from None

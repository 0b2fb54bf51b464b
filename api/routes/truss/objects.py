"""The place where `truss` uploads to: as much of S3 as boto3's `upload_file` needs, with credentials that were handed out for one object."""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from typing import Any, cast
from xml.sax.saxutils import escape

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from api.audit import audited
from api.gateway import Gateway, gateway_of
from api.problems import Problem, of_error
from api.routes.truss.content import ContentRefused, content, refuse
from api.routes.truss.signature import Signature, SignedRequest
from api.server.connections import Connection
from deployments.packages.transfers import MOST_OF_PART, MOST_PARTS
from deployments.packages.uploads import PackageRefused
from tasks.api_keys import GRANTS, ApiKey
from tasks.errors import KingpostError, NotFound
from tasks.files.transfers import Transfer

PREFIX = "/truss/s3"
BUCKET = "kingpost_uploads"  # with an underscore it can be no host name, so that clients put it into the path
KEY = re.compile(r"truss/([0-9a-f]{32})")
NUMBER = re.compile(rb"<PartNumber>\s*(\d{1,5})\s*</PartNumber>")
ETAG = re.compile(rb"<ETag>\s*(?:\"|&quot;|&#34;)?([0-9a-f]{32})(?:\"|&quot;|&#34;)?\s*</ETag>")
LONGEST_LIST = 4 << 20  # bytes, of 10,000 parts
# A check of the archive that takes longer is answered as S3 does: the answer begins, and spaces keep the connection open.
PATIENCE_SECONDS = 20.0
SPACE_SECONDS = 10.0  # between two spaces

router = APIRouter(prefix=PREFIX, include_in_schema=False)


def s3_key(transfer_id: str) -> str:
    """The name of the object of a transfer."""
    return f"truss/{transfer_id}"


def transfer_id_of(key: str) -> str:
    """The transfer of an object. Raises NotFound for another name."""
    match = KEY.fullmatch(key)
    if match is None:
        raise NotFound("This s3_key was not handed out by Kingpost; push again.")
    return match[1]


@dataclass(frozen=True)
class Sender:
    """Who sends an object, and its transfer."""

    key: ApiKey
    transfer: Transfer


async def sender_of(request: Request) -> Sender:
    """The holder of the credentials that signed the request. Raises ContentRefused 403."""
    gateway = gateway_of(request)
    signature = Signature.read(request.headers.get("authorization", ""))
    if signature is None:
        refuse("AccessDenied", "Sign with the credentials that the push was given.", 403)
    try:
        transfer = await gateway.transfers.find(signature.access_key)
    except NotFound as error:
        refuse("InvalidAccessKeyId", str(error), 403)
    asked = _signed_request(request)
    token = request.headers.get("x-amz-security-token")
    if token != transfer.id or not signature.is_of(asked, transfer.secret):
        refuse("SignatureDoesNotMatch", "The signature is not that of these credentials.", 403)
    if not signature.is_recent(asked, datetime.now(UTC)):
        refuse("RequestTimeTooSkewed", "The clocks of client and server differ too much.", 403)
    if request.path_params != {"bucket": BUCKET, "key": s3_key(transfer.id)}:
        refuse("AccessDenied", "These credentials are for another object.", 403)
    key = await _key_of(gateway, transfer)
    if held := cast("Connection | None", request.scope["state"].get("connection")):
        held.show(key.id)
    return Sender(key, transfer)


def _signed_request(request: Request) -> SignedRequest:
    query = request.scope["query_string"].decode("latin-1")
    return SignedRequest(request.method, request.scope["path"], query, request.headers)


async def _key_of(gateway: Gateway, transfer: Transfer) -> ApiKey:
    """The key for which the credentials were made, if it may still deploy."""
    key = await gateway.keys.of_id(transfer.api_key)
    if key is None or "deploy" not in GRANTS[key.scope]:
        refuse("AccessDenied", "The API key of this push is not valid any more.", 403)
    return key


Handler = Callable[..., Awaitable[Response]]


def in_xml(handler: Handler) -> Handler:
    """Answers every error in XML, as S3 does."""

    @wraps(handler)
    async def answered(*args: Any, **more: Any) -> Response:
        try:
            return await handler(*args, **more)
        except (KingpostError, Problem) as error:
            status, said = _error(error)
            return Response(said, status, media_type="application/xml")

    return answered


def _error(error: KingpostError | Problem) -> tuple[int, str]:
    match error:
        case ContentRefused():
            status, code, message = error.status, error.code, str(error)
        case PackageRefused():
            status, code, message = 400, "InvalidPackage", str(error)
        case NotFound():
            status, code, message = 404, "NoSuchUpload", str(error)
        case Problem():
            status, code, message = error.status, "ServiceUnavailable", error.message
        case _:
            return _error(of_error(error))
    return status, _xml("Error", Code=code, Message=message)


def _xml(name: str, **fields: str) -> str:
    inner = "".join(f"<{field}>{escape(value)}</{field}>" for field, value in fields.items())
    return f"<{name}>{inner}</{name}>"


@router.put("/{bucket}/{key:path}")
@in_xml
async def put(request: Request) -> Response:
    """Takes the object, or one of its parts."""
    sender, number = await sender_of(request), _part_number(request)
    if sender.transfer.ended:  # the answer was lost, and the client asks again
        await _complete(request, sender)
        return Response(headers={"ETag": f'"{sender.transfer.content_hash[:32]}"'})
    chunks = content(request, MOST_OF_PART)
    part = await gateway_of(request).transfers.add(sender.transfer, number or 1, chunks)
    if number is None:
        await _complete(request, sender, {1: part.md5})
    return Response(headers={"ETag": f'"{part.md5}"'})


@router.post("/{bucket}/{key:path}")
@in_xml
async def post(request: Request) -> Response:
    """Begins an object in parts, or completes it."""
    sender, query = await sender_of(request), request.query_params
    if "uploads" in query:
        fields = {"Bucket": BUCKET, "Key": s3_key(sender.transfer.id)}
        said = _xml("InitiateMultipartUploadResult", **fields, UploadId=sender.transfer.id)
        return Response(said, media_type="application/xml")
    _check_upload_id(request, sender)
    listed = await _listed(request)
    work = asyncio.ensure_future(_complete(request, sender, listed))
    done, _ = await asyncio.wait({work}, timeout=PATIENCE_SECONDS)
    if not done:
        return StreamingResponse(_later(work), media_type="application/xml")
    await work
    return Response(_completed(sender), media_type="application/xml")


@router.delete("/{bucket}/{key:path}", status_code=204)
@in_xml
async def delete(request: Request) -> Response:
    """Gives up an object in parts."""
    sender = await sender_of(request)
    _check_upload_id(request, sender)
    await gateway_of(request).transfers.give_up(sender.transfer.id)
    return Response(status_code=204)


async def _complete(
    request: Request, sender: Sender, listed: dict[int, str] | None = None
) -> Transfer:
    transfers = gateway_of(request).transfers
    if sender.transfer.ended:
        return await transfers.complete(sender.transfer.id)
    target = sender.transfer.id
    try:
        done = await transfers.complete(target, listed)
    except PackageRefused:
        async with audited(request, sender.key, "package.upload", target):
            raise
    if done.purpose == "package":
        async with audited(request, sender.key, "package.upload", done.content_hash):
            pass
    return done


async def _later(work: "asyncio.Future[Transfer]") -> AsyncGenerator[str]:
    """Spaces while the check runs, then the answer. Its status was sent already, as with S3 itself."""
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    while not work.done():
        await asyncio.wait({work}, timeout=SPACE_SECONDS)
        yield " "
    try:
        done = await work
    except (KingpostError, Problem) as error:
        yield _error(error)[1]
    else:
        yield _result(done)


def _completed(sender: Sender) -> str:
    return _result(sender.transfer)


def _result(done: Transfer) -> str:
    fields = {"Bucket": BUCKET, "Key": s3_key(done.id), "ETag": f'"{done.id}"'}
    return _xml("CompleteMultipartUploadResult", **fields)


def _part_number(request: Request) -> int | None:
    """The number of the part, None for a whole object. Raises ContentRefused."""
    said = request.query_params.get("partNumber")
    if said is None:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", said) or not 1 <= int(said) <= MOST_PARTS:
        refuse("InvalidArgument", f"A part's number is 1 to {MOST_PARTS}.")
    return int(said)


def _check_upload_id(request: Request, sender: Sender) -> None:
    if request.query_params.get("uploadId") != sender.transfer.id:
        raise NotFound("There is no such upload; push again.")


async def _listed(request: Request) -> dict[int, str]:
    """The parts that the client means, with their MD5."""
    chunks = content(request, LONGEST_LIST)
    return parts_in(b"".join([chunk async for chunk in chunks]))


def parts_in(said: bytes) -> dict[int, str]:
    """The MD5 of each part in the XML of CompleteMultipartUpload, by the part's number. Raises ContentRefused.

    It uses no XML parser, so its time is linear in the size of the list, whatever a client sends.
    """
    found: dict[int, str] = {}
    for begun in said.split(b"<Part>")[1:]:
        part, end, _ = begun.partition(b"</Part>")
        number, etag = NUMBER.search(part), ETAG.search(part)
        if not end or number is None or etag is None:
            refuse("MalformedXML", "A part has a number, an ETag and an end.")
        found[int(number[1])] = etag[1].decode()
    return found

"""Message batches as Anthropic's clients make them: a batch like OpenAI's whose requests come in the call itself."""

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from api import body as bodies
from api.audit import steered
from api.gateway import Caller, Gateway, gateway_of, owner_for
from api.problems import Problem
from api.routes.batches.files import JSONL, PURPOSE, WRITTEN_AT_ONCE
from api.routes.batches.message_requests import ENDPOINT, MessageRequests, NoRequests
from api.routes.files.receiving import missing_is_404
from tasks.api_keys import ApiKey
from tasks.batches import verbs
from tasks.batches.verbs import Batch, BatchEnded
from tasks.errors import NotFound
from tasks.files.files import file_ref
from tasks.files.listed import find_listed, keep_listed
from tasks.files.verbs import File
from tasks.payloads import INPUT_MS, PayloadWriter
from tasks.store.verbs import spill

router = APIRouter(prefix="/v1/messages/batches", tags=["batches"])
PREFIX = "msgbatch_"
WINDOW = ("24h", 86_400_000)  # as Anthropic has it
RUNS = {"validating": "in_progress", "in_progress": "in_progress", "finalizing": "in_progress", "cancelling": "canceling"}  # fmt: skip
CUT_OFF = {"batch_cancelled": "canceled", "batch_expired": "expired"}
TYPES = {
    "invalid_request": "invalid_request_error",
    "MODEL_INVALID_INPUT": "invalid_request_error",
    "MODEL_DOES_NOT_EXIST": "not_found_error",
}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["requests"],
                    "properties": {
                        "requests": {
                            "type": "array",
                            "minItems": 1,
                            "items": {
                                "type": "object",
                                "required": ["custom_id", "params"],
                                "properties": {
                                    "custom_id": {
                                        "type": "string",
                                        "pattern": "^[a-zA-Z0-9_-]{1,64}$",
                                    },
                                    "params": {"type": "object"},
                                },
                            },
                        }
                    },
                }
            }
        },
    }
}


class MessageCounts(BaseModel):
    """The requests of a batch."""

    processing: int
    succeeded: int
    errored: int
    canceled: int
    expired: int


class MessageBatch(BaseModel):
    """A message batch."""

    id: str
    type: Literal["message_batch"] = "message_batch"
    processing_status: str
    request_counts: MessageCounts
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    cancel_initiated_at: datetime | None
    archived_at: datetime | None = None
    results_url: str | None

    @classmethod
    def of(cls, batch: Batch, base_url: str) -> "MessageBatch":
        """From the record. `base_url` is the address of the API, as the caller knows it."""
        over = batch.status not in RUNS
        ended = batch.moments.get(batch.status) if over else None
        cancelled = batch.moments.get("cancelling")
        batch_id = PREFIX + batch.id
        return cls(
            id=batch_id,
            processing_status=RUNS.get(batch.status, "ended"),
            request_counts=_counts(batch, over),
            created_at=_moment(batch.created),
            expires_at=_moment(batch.expires),
            ended_at=None if ended is None else _moment(ended),
            cancel_initiated_at=None if cancelled is None else _moment(cancelled),
            results_url=f"{base_url.rstrip('/')}{router.prefix}/{batch_id}/results" if over else None,
        )  # fmt: skip


class MessageBatchPage(BaseModel):
    """A page of message batches."""

    data: list[MessageBatch]
    has_more: bool
    first_id: str | None
    last_id: str | None


@router.post("", response_model=MessageBatch, openapi_extra=BODY)
async def create(request: Request, key: Caller) -> MessageBatch:
    """Runs the requests. Each becomes a job of the lowest priority."""
    gateway, file_id = gateway_of(request), secrets.token_hex(16)
    size, count = await _received(request, gateway, file_ref(file_id))
    kept = int(gateway.settings.file_seconds * 1000)
    file = File(file_id, file_ref(file_id), size, "jsonl", JSONL, kept)
    await gateway.store.run(keep_listed(file, key.id, "messages.jsonl", PURPOSE, gateway.settings))
    results_ms = int(gateway.settings.retention_seconds * 1000)
    call = verbs.create(
        secrets.token_hex(16), key.id, ENDPOINT, file_id, WINDOW, None, results_ms, count
    )
    with missing_is_404():
        return _shown(request, await gateway.store.run(call))


@router.get("", response_model=MessageBatchPage)
async def listed(
    request: Request,
    key: Caller,
    after_id: Annotated[str, Query(max_length=64)] = "",
    before_id: Annotated[str, Query(max_length=64)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
) -> MessageBatchPage:
    """The key's message batches, newest first. Only `after_id` turns pages."""
    if before_id:
        raise Problem(400, "client_error", "before_id: turn pages with after_id.")
    found, after, more = list[Batch](), after_id.removeprefix(PREFIX), True
    while more and len(found) <= limit:
        page = await gateway_of(request).store.run(verbs.listed(key.id, after, limit))
        more = len(page) > limit
        page = page[:limit]
        after = page[-1].id if page else ""
        found += [batch for batch in page if batch.endpoint == ENDPOINT]
    data = [_shown(request, batch) for batch in found[:limit]]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return MessageBatchPage(data=data, has_more=len(found) > limit, first_id=first, last_id=last)


@router.get("/{batch_id}", response_model=MessageBatch)
async def retrieve(request: Request, key: Caller, batch_id: str) -> MessageBatch:
    """How a message batch stands."""
    return _shown(request, await _found(request, key, batch_id))


@router.post("/{batch_id}/cancel", response_model=MessageBatch)
async def cancel(request: Request, key: Caller, batch_id: str) -> MessageBatch:
    """Ends a message batch early. What is done is among its results."""
    async with steered(request, key, "batch.cancel", batch_id):
        batch = await _found(request, key, batch_id)
        try:
            batch = await gateway_of(request).store.run(verbs.cancel(batch.id, owner_for(key)))
        except BatchEnded as error:
            raise Problem(409, "client_error", str(error)) from None
    return _shown(request, batch)


@router.get(
    "/{batch_id}/results", response_class=Response, responses={200: {"content": {JSONL: {}}}}
)
async def results(request: Request, key: Caller, batch_id: str) -> Response:
    """What became of each request, one a line: first those that succeeded. 404 before the batch has ended."""
    gateway, batch = gateway_of(request), await _found(request, key, batch_id)
    if batch.status in RUNS:
        message = f"The batch {batch_id} has not ended; it has no results yet."
        raise Problem(404, "client_error", message)
    pieces: list[AsyncIterator[bytes]] = []
    for file_id in filter(None, (batch.output, batch.error)):
        with missing_is_404():
            file = await gateway.store.run(find_listed(batch.api_key, file_id))
            pieces.append(await gateway.payloads.read_async(file.ref))
    return StreamingResponse(_results(pieces), media_type=JSONL)


def result_of(line: bytes) -> bytes:
    """Anthropic's line for a line of the results of a batch."""
    said = json.loads(line)
    error = said["error"]
    result: dict[str, Any]
    if error is None:
        result = {"type": "succeeded", "message": said["response"]["body"]}
    elif error["code"] in CUT_OFF:
        result = {"type": CUT_OFF[error["code"]]}
    else:
        kind = TYPES.get(error["code"], "api_error")
        inner = {"type": kind, "message": error["message"], "code": error["code"]}
        result = {"type": "errored", "error": {"type": "error", "error": inner}}
    return json.dumps({"custom_id": said["custom_id"], "result": result}).encode() + b"\n"


async def _results(files: Sequence[AsyncIterator[bytes]]) -> AsyncGenerator[bytes]:
    for pieces in files:
        held = b""
        async for piece in pieces:
            *lines, held = (held + piece).split(b"\n")
            if lines:
                yield await asyncio.to_thread(_converted, lines)


def _converted(lines: Sequence[bytes]) -> bytes:
    return b"".join(result_of(line) for line in lines)


async def _received(request: Request, gateway: Gateway, ref: str) -> tuple[int, int]:
    """Stores the requests as lines of a file: its bytes, and their number. Raises Problem 400 and 413, and PayloadUnavailable."""
    await gateway.store.run(spill([ref], INPUT_MS))
    requests = MessageRequests(gateway.settings.max_batch_lines)
    writer, held, size = gateway.payloads.writer(ref), list[bytes](), 0
    try:
        async for chunk in bodies.counted(request, gateway.settings.max_batch_file_bytes):
            held += requests.feed(chunk)
            if sum(map(len, held)) >= WRITTEN_AT_ONCE:
                size += await _write(writer, held)
        requests.end()
    except NoRequests as error:
        raise Problem(400, "client_error", f"Invalid body: {error}.") from None
    size += await _write(writer, held)
    await asyncio.to_thread(writer.close)
    return size, requests.count


async def _write(writer: PayloadWriter, held: list[bytes]) -> int:
    lines = b"".join(held)
    held.clear()
    await asyncio.to_thread(writer.write, lines)
    return len(lines)


async def _found(request: Request, key: ApiKey, batch_id: str) -> Batch:
    """The batch of messages that the key may read. Raises Problem 404."""
    call = verbs.read(batch_id.removeprefix(PREFIX), owner_for(key))
    try:
        batch = await gateway_of(request).store.run(call)
    except NotFound:
        batch = None
    if batch is None or batch.endpoint != ENDPOINT:
        raise Problem(404, "client_error", f"There is no message batch {batch_id}.")
    return batch


def _shown(request: Request, batch: Batch) -> MessageBatch:
    return MessageBatch.of(batch, str(request.base_url))


def _counts(batch: Batch, over: bool) -> MessageCounts:
    """The counts. As in Anthropic's API, all are `processing` until the batch has ended."""
    if not over:
        return MessageCounts(
            processing=batch.total, succeeded=0, errored=0, canceled=0, expired=0
        )  # fmt: skip
    return MessageCounts(
        processing=0,
        succeeded=batch.completed,
        errored=batch.failed - batch.cut_off,
        canceled=batch.cut_off if batch.ending == "cancelled" else 0,
        expired=batch.cut_off if batch.ending != "cancelled" else 0,
    )


def _moment(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(unix_ms / 1000, UTC)

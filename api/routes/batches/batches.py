"""Batches as OpenAI's clients make them: the requests of a file, one a line, run when nothing more urgent waits."""

import secrets
from typing import Annotated

from fastapi import APIRouter, Query, Request

from api.audit import steered
from api.gateway import Caller, gateway_of, owner_for
from api.problems import Problem
from api.routes.batches.schemas import BATCH, FILE, BatchBody, BatchObject, BatchPage
from api.routes.control.deployer import body_of, read_body
from api.routes.files.receiving import missing_is_404
from tasks.batches import verbs
from tasks.batches.verbs import BatchEnded

router = APIRouter(prefix="/v1/batches", tags=["batches"])
WINDOWS = "completion_window: from 10s to 72h, such as 24h."


@router.post("", response_model=BatchObject, openapi_extra=body_of(BatchBody))
async def create(request: Request, key: Caller) -> BatchObject:
    """Runs the requests of a file. Each becomes a job of the lowest priority."""
    asked, gateway = await read_body(request, BatchBody), gateway_of(request)
    window = asked.window_ms
    if window is None:
        raise Problem(400, "client_error", WINDOWS, more={"param": "completion_window"})
    kept = gateway.settings.retention_seconds
    if asked.output_expires_after:
        kept = asked.output_expires_after.seconds
    call = verbs.create(
        secrets.token_hex(16),
        key.id,
        asked.endpoint,
        asked.input_file_id.removeprefix(FILE),
        (asked.completion_window, window),
        asked.metadata,
        int(kept * 1000),
    )
    with missing_is_404():
        return BatchObject.of(await gateway.store.run(call))


@router.get("", response_model=BatchPage)
async def listed(
    request: Request,
    key: Caller,
    after: Annotated[str, Query(max_length=64)] = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> BatchPage:
    """The key's batches, newest first."""
    call = verbs.listed(key.id, after.removeprefix(BATCH), limit)
    found = [BatchObject.of(batch) for batch in await gateway_of(request).store.run(call)]
    return BatchPage.of(found, limit)


@router.get("/{batch_id}", response_model=BatchObject)
async def retrieve(request: Request, key: Caller, batch_id: str) -> BatchObject:
    """How a batch stands."""
    call = verbs.read(batch_id.removeprefix(BATCH), owner_for(key))
    with missing_is_404():
        return BatchObject.of(await gateway_of(request).store.run(call))


@router.post("/{batch_id}/cancel", response_model=BatchObject)
async def cancel(request: Request, key: Caller, batch_id: str) -> BatchObject:
    """Ends a batch early. What is done is in its output file."""
    async with steered(request, key, "batch.cancel", batch_id):
        call = verbs.cancel(batch_id.removeprefix(BATCH), owner_for(key))
        try:
            with missing_is_404():
                return BatchObject.of(await gateway_of(request).store.run(call))
        except BatchEnded as error:
            raise Problem(409, "client_error", str(error)) from None

"""The input of a request, while it is kept."""

import contextlib
from collections.abc import AsyncGenerator

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from api.audit import audited
from api.gateway import authenticate, gateway_of, owner_for
from api.problems import Problem, no_such_request
from api.routes.jobs.retrying import GONE
from api.upstream.passing import sandboxed
from tasks.api_keys import ApiKey
from tasks.errors import NotFound
from tasks.job import Job
from tasks.store import verbs

router = APIRouter(tags=["jobs"])


@router.get("/v1/jobs/{request_id}/input", response_class=Response)
async def job_input(request: Request, request_id: str) -> Response:
    """The input of a request with its content type, as it was submitted. 410 if it is not kept any more."""
    gateway, key = gateway_of(request), await authenticate(request)
    rate = key.limits.status_calls_per_minute or 0
    try:
        reading = await gateway.store.run(verbs.read(request_id, owner_for(key), rate, key.id))
    except NotFound:
        raise no_such_request() from None
    async with _audited_if_of_another_key(request, key, reading.job):
        return await _input(request, reading.job)


@contextlib.asynccontextmanager
async def _audited_if_of_another_key(
    request: Request, key: ApiKey, job: Job
) -> AsyncGenerator[None]:
    """Makes an entry in the audit log when an admin reads the input of another key's request."""
    if job.api_key == key.id:
        yield
        return
    async with audited(request, key, "request.read_input", job.request_id):
        yield


async def _input(request: Request, job: Job) -> Response:
    gateway = gateway_of(request)
    headers = {"content-type": job.content_type, "x-baseten-request-id": job.request_id}
    headers |= sandboxed(job.content_type)
    if job.input_ref:
        try:
            pieces = await gateway.payloads.read_async(job.input_ref)
        except NotFound:
            raise Problem(410, "application_error", GONE) from None
        return StreamingResponse(pieces, headers=headers)
    found = await gateway.store.input(job.request_id)
    if found is None:
        raise Problem(410, "application_error", GONE)
    return Response(found, headers=headers)

"""The output of an async request."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from api.gateway import Gateway, authenticate, gateway_of, owner_for
from api.problems import Problem, no_such_request
from api.routes.files.ranges import Part, part_of
from api.upstream.passing import sandboxed
from tasks.api_keys import sees_model_errors
from tasks.errors import NotFound
from tasks.job import Job
from tasks.state import FINAL, Status
from tasks.store import verbs

router = APIRouter(tags=["async"])
GONE = "The output of the request is gone; retry the request to make it again."
ANSWERS: dict[int | str, dict[str, Any]] = {
    206: {"content": {"application/octet-stream": {}}},
    409: {"description": "The request is not final yet."},
    410: {"description": "The request ended without an output, or its output is gone."},
    416: {"description": "The range holds no byte of the output."},
    429: {"description": "The key asked too often."},
}


@router.get("/async_request/{request_id}/result", response_class=Response, responses=ANSWERS)
async def result(request: Request, request_id: str) -> Response:
    """The output with its content type. 409 while the request is not final, 410 with its errors if it ended without an output, 410 if the output is gone.

    A call counts for the key's limit of status calls, as the status does."""
    gateway, key = gateway_of(request), await authenticate(request)
    try:
        calls_per_minute = key.limits.status_calls_per_minute or 0  # 0 = no limit
        call = verbs.read(request_id, owner_for(key), calls_per_minute, key.id)
        job = (await gateway.store.run(call)).job
    except NotFound:
        raise no_such_request() from None
    _refuse_without_output(job, sees_model_errors(gateway.settings, key.scope))
    try:
        return await _output(gateway, job, request.headers.get("range", ""))
    except NotFound:
        raise Problem(410, "application_error", GONE) from None


def _refuse_without_output(job: Job, detailed: bool) -> None:
    if job.status not in FINAL:
        raise Problem(409, "client_error", f"The request is {job.status}; there is no result yet.")
    if job.status is not Status.SUCCEEDED:
        said = (
            "; ".join(f"{error.code}: {error.told(detailed)}" for error in job.errors) or job.status
        )
        raise Problem(410, "application_error", f"The request is {job.status}: {said}")


async def _output(gateway: Gateway, job: Job, range_header: str) -> Response:
    """The output, or a part of it for a `Range`."""
    content_type, size = job.output_type or "", job.output_bytes or 0
    headers = {"content-type": content_type, "accept-ranges": "bytes"}
    headers["x-baseten-request-id"] = job.request_id
    headers |= sandboxed(content_type)
    part = part_of(range_header, size)
    if part is None:
        return Response(status_code=416, headers=headers | {"content-range": f"bytes */{size}"})
    status = 200
    if part != Part(0, size):  # `bytes=0-` asks for all, and a server may answer that with 200
        status, headers["content-range"] = 206, f"bytes {part.start}-{part.end - 1}/{size}"
    headers["content-length"] = str(part.end - part.start)
    if job.output_ref:
        pieces = await gateway.payloads.read_part(job.output_ref, part.start, part.end)
        return StreamingResponse(pieces, status, headers)
    output = await gateway.store.output(job.request_id)
    if output is None:
        raise NotFound
    return Response(output[part.start : part.end], status, headers)

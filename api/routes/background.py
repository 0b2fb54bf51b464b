"""Responses in the background, as OpenAI's clients ask for them: `POST /v1/responses` with `"background": true` is a queued job."""

import hashlib
import json
from typing import Any, cast

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from api import body as bodies
from api.audit import steered
from api.gateway import (
    Caller,
    Gateway,
    deployment_for,
    gateway_of,
    new_request_id,
    owner_for,
)
from api.problems import Problem
from api.routes.submitting import idempotency_key_of, write_large
from deployments.registry.resolver import Target
from tasks import payloads
from tasks.api_keys import ApiKey, sees_model_errors
from tasks.errors import NotFound
from tasks.job import Job, RequestId, Submission
from tasks.state import FINAL, Status
from tasks.store import verbs

router = APIRouter(prefix="/v1/responses", tags=["model APIs"])
PATH, PREFIX, FIELD = "/v1/responses", "resp_", b'"background"'
QUEUED_MS = 24 * 3_600_000  # that a response may wait in the queue
MOST_OUTPUT = 16 << 20  # bytes of a response that is read to be shown
WORDS = {
    Status.QUEUED: "queued",
    Status.IN_PROGRESS: "in_progress",
    Status.SUCCEEDED: "completed",
    Status.CANCELED: "cancelled",
}
NO_STREAM = "stream: a response in the background is not streamed; retrieve it when it is done."


def asked_for(request: Request, body: bytes) -> dict[str, Any] | None:
    """The body of a response in the background, without that field; None for any other call. Raises Problem 400."""
    if request.scope["path"] != PATH or FIELD not in body:
        return None
    said = bodies.decoded(body)
    if not isinstance(said, dict) or said.get("background") is not True:  # type: ignore[union-attr]
        return None
    asked = {name: value for name, value in cast("dict[str, Any]", said).items() if name != "background"}  # fmt: skip
    if asked.get("stream"):
        raise Problem(400, "client_error", NO_STREAM, more={"param": "stream"})
    return asked


async def submitted(
    request: Request, key: ApiKey, asked: dict[str, Any], target: Target
) -> JSONResponse:
    """Queues the response. Raises Problem, NotFound and AdmissionError."""
    gateway, request_id = gateway_of(request), RequestId(new_request_id())
    deployment = await deployment_for(request, key, target)
    body = json.dumps(asked).encode()
    job = Submission(
        request_id=request_id,
        deployment_id=deployment.id,
        model_id=deployment.model_id,
        input=body,
        max_time_in_queue_ms=QUEUED_MS,
        path=PATH,
        input_ref=payloads.input_ref(request_id)
        if len(body) > gateway.settings.spill_bytes
        else "",
    )
    once = idempotency_key_of(request)
    await write_large(gateway, [job])
    call = verbs.submit(
        [job],
        key.id,
        gateway.settings.max_queued,
        once,
        hashlib.sha256(deployment.id.encode() + body).hexdigest() if once else "",
        int(gateway.settings.idempotency_seconds * 1000),
        key.limits.submits_per_minute or 0,
        key.limits.max_unfinished or 0,
    )
    (known,) = await gateway.store.run(call)
    return JSONResponse(await _shown(gateway, key, await _job(gateway, key, known)))


@router.get("/{response_id}")
async def retrieve(request: Request, key: Caller, response_id: str) -> dict[str, Any]:
    """A response in the background: how it stands, and its output when it is completed."""
    gateway = gateway_of(request)
    return await _shown(gateway, key, await _job(gateway, key, _id_in(response_id)))


@router.post("/{response_id}/cancel")
async def cancel(request: Request, key: Caller, response_id: str) -> dict[str, Any]:
    """Cancels a response in the background. One that is final stays as it is."""
    gateway, request_id = gateway_of(request), _id_in(response_id)
    async with steered(request, key, "request.cancel", response_id):
        job = await _job(gateway, key, request_id)
        if job.status not in FINAL:
            stops = gateway.settings.cancel_running
            await gateway.store.run(verbs.cancel(request_id, owner_for(key), stops))
    return await _shown(gateway, key, await _job(gateway, key, request_id))


def _id_in(response_id: str) -> str:
    return response_id.removeprefix(PREFIX)


async def _job(gateway: Gateway, key: ApiKey, request_id: str) -> Job:
    """The job of a response that the key may read. Raises Problem 404, and RateLimited."""
    rate = key.limits.status_calls_per_minute or 0
    try:
        job = (await gateway.store.run(verbs.read(request_id, owner_for(key), rate, key.id))).job
    except NotFound:
        job = None
    if job is None or job.path != PATH:
        message = f"There is no response {PREFIX}{request_id}."
        raise Problem(404, "client_error", message) from None
    return job


async def _shown(gateway: Gateway, key: ApiKey, job: Job) -> dict[str, Any]:
    """A response object: the model's own when it is completed."""
    said = await _output(gateway, job) if job.status is Status.SUCCEEDED else {}
    error = None
    if job.status in (Status.FAILED, Status.EXPIRED):
        detailed = sees_model_errors(gateway.settings, key.scope)
        last = job.errors[-1] if job.errors else None
        message = last.told(detailed) if last else str(job.status)
        error = {"code": str(last.code) if last else "server_error", "message": message}
    deployment = None
    if "model" not in said:
        deployment = await _model_of(gateway, job)
    return {
        "created_at": job.created // 1000,
        "error": error,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": deployment,
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        **said,
        "id": f"{PREFIX}{job.request_id}",
        "object": "response",
        "status": WORDS.get(job.status, "failed"),
        "background": True,
    }


async def _model_of(gateway: Gateway, job: Job) -> str:
    try:
        return (await gateway.resolver.deployment(job.deployment_id)).model_name
    except NotFound:
        return job.model_id


async def _output(gateway: Gateway, job: Job) -> dict[str, Any]:
    """What the model answered. Raises Problem 410 if it is gone, and 502 if it is no response object."""
    if (job.output_bytes or 0) > MOST_OUTPUT:
        raise Problem(502, "model_unavailable", "The model's answer is too long.")
    try:
        if job.output_ref:
            output = await gateway.payloads.read_whole(job.output_ref)
        else:
            output = await gateway.store.output(job.request_id) or b""
        said = json.loads(output)
    except NotFound:
        raise Problem(410, "application_error", "The output is gone.") from None
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise Problem(502, "model_unavailable", "The model's answer is no response object.")
    return cast("dict[str, Any]", said)

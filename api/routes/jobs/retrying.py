"""Runs final requests again: the same input as a new request, which belongs to the same key."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter

from api import body as bodies
from api.audit import steered
from api.gateway import RESTRICTED, Gateway, authenticate, gateway_of, new_request_id, owner_for
from api.observing import traced
from api.problems import Problem, no_such_request
from api.routes.jobs.schemas import RetryBody, RetryResponse
from api.routes.submitting import idempotency_key_of, write_large
from api.upstream.attaching import files_again, may_refer
from deployments.attached import written
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment
from tasks import payloads
from tasks.api_keys import ApiKey
from tasks.errors import NotFound
from tasks.job import Job, RequestId, Submission
from tasks.state import FINAL
from tasks.store import verbs

router = APIRouter(tags=["jobs"])
BODY = TypeAdapter(RetryBody)
JSON = "application/json"
GONE = "The input of the request is gone; submit it again with its input."


@dataclass(frozen=True)
class Idempotency:
    """An Idempotency-Key, and a digest of what it was sent with. '' = none."""

    key: str = ""
    digest: str = ""


NO_KEY = Idempotency()  # a repeated call makes another request


@router.post("/async_request/{request_id}/retry", status_code=201, response_model=RetryResponse)
async def retry(request: Request, request_id: str, response: Response) -> RetryResponse:
    """Queues the input of a final request again, or another `model_input` in its place, as a new request. 410 if the input is gone."""
    key = await authenticate(request)
    async with steered(request, key, "request.retry", request_id):
        most = gateway_of(request).settings.max_async_body_bytes
        body = await bodies.read(request, most)
        new_id = await _retried(request, key, request_id, body)
    response.headers["x-baseten-request-id"] = new_id
    return RetryResponse(request_id=new_id, retry_of=request_id)


async def _retried(request: Request, key: ApiKey, request_id: str, body: bytes) -> RequestId:
    """The id of the new request."""
    asked = bodies.parse(BODY, body or b"{}")
    gateway, rate = gateway_of(request), key.limits.status_calls_per_minute or 0
    try:
        call = verbs.read(request_id, owner_for(key), rate, key.id)
        job = (await gateway.store.run(call)).job
    except NotFound:
        raise no_such_request() from None
    if job.status not in FINAL:
        message = f"The request is {job.status}; only a final request can be retried."
        raise Problem(409, "client_error", message)
    await check_deployment(gateway, key, job.deployment_id)
    if asked.edits:
        again = await _edited(gateway, job, asked.model_input)
    else:
        again = await submission(gateway, job, new_request_id())
    again = traced.linked(request, job, again)
    once = _idempotency(request, key, job, body if asked.edits else b"")
    (new_id,) = await submit_again(gateway, key, job, [again], once)
    return new_id


async def _edited(gateway: Gateway, job: Job, asked: Any) -> Submission:
    """The same job with another input, which is JSON, and with the files of that one. Raises Problem 400 and FileMissing."""
    new_id, model_input = RequestId(new_request_id()), bodies.encoded(asked)
    files = await files_again(gateway, job, asked) if may_refer(model_input) else []
    again = replace(_same(job, new_id), input=model_input, content_type=JSON, files=written(files))
    if len(model_input) > gateway.settings.spill_bytes:
        again = replace(again, input_ref=payloads.input_ref(new_id))
        await write_large(gateway, [again])
    return again


def _idempotency(request: Request, key: ApiKey, job: Job, edit: bytes) -> Idempotency:
    given = idempotency_key_of(request)
    if not given:
        return NO_KEY
    # The new request belongs to the job's owner, whose own Idempotency-Keys must not collide with the caller's.
    digest = hashlib.sha256(f"retry {job.request_id}".encode() + edit).hexdigest()
    return Idempotency(f"retry:{key.id}:{given}", digest)


async def check_deployment(gateway: Gateway, key: ApiKey, deployment_id: str) -> Deployment:
    """The deployment, if there still is one and a restricted key may use it. Raises Problem 410 and 403."""
    try:
        found = await gateway.resolver.deployment(deployment_id)
    except NotFound:
        raise Problem(410, "application_error", "The deployment of the request is gone.") from None
    allowed = not key.models or {found.model_id, found.model_name} & set(key.models)
    if allowed and key.environments:
        known = await gateway.store.run(registry.environments(found.model_id))
        own = [known[name].deployment_id for name in key.environments if name in known]
        allowed = found.id in own
    if not allowed:
        raise Problem(403, "unauthorized", RESTRICTED)
    return found


async def submission(gateway: Gateway, job: Job, request_id: str) -> Submission:
    """The same job under a new id. A large input is copied. Raises Problem 410 if the input is gone."""
    model_input, ref = b"", ""
    if job.input_ref:
        ref = payloads.input_ref(request_id)
        await gateway.store.run(verbs.spill([ref], payloads.INPUT_MS))
        try:
            await gateway.payloads.copy(job.input_ref, ref)
        except NotFound:
            raise Problem(410, "application_error", GONE) from None
    else:
        found = await gateway.store.input(job.request_id)
        if found is None:
            raise Problem(410, "application_error", GONE)
        model_input = found
    return replace(_same(job, RequestId(request_id)), input=model_input, input_ref=ref)


def _same(job: Job, request_id: RequestId) -> Submission:
    """The same job under a new id, without its input."""
    return Submission(
        request_id=request_id,
        deployment_id=job.deployment_id,
        model_id=job.model_id,
        input=b"",
        level=job.level,
        max_time_in_queue_ms=job.max_time_in_queue_ms,
        retry=job.retry,
        webhook=job.webhook,
        content_type=job.content_type,
        traceparent=job.traceparent,
        path=job.path,
        chain_id=job.chain_id,
        retry_of=job.request_id,
        files=job.files,
        output_files=job.output_files,
    )


async def submit_again(
    gateway: Gateway,
    key: ApiKey,
    job: Job,
    jobs: Sequence[Submission],
    idempotency: Idempotency = NO_KEY,
) -> list[RequestId]:
    """Queues them for the owner of `job`, in whose place the caller acts. Raises an AdmissionError.

    The rate is the caller's. Another key's limit of unfinished requests does not bind an operator.
    """
    limits = key.limits
    call = verbs.submit(
        jobs,
        job.api_key,
        gateway.settings.max_queued,
        idempotency.key,
        idempotency.digest,
        int(gateway.settings.idempotency_seconds * 1000),
        limits.submits_per_minute or 0,
        (limits.max_unfinished or 0) if job.api_key == key.id else 0,
        key.id,
    )
    return await gateway.store.run(call)

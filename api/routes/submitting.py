"""Turns the body of a submission into queued jobs: checks limits, stores large inputs, runs one script."""

import hashlib
from dataclasses import replace

from fastapi import Request

from api import body as bodies
from api.gateway import Gateway, gateway_of, new_request_id
from api.observing.traced import traceparent_of
from api.problems import Problem
from api.schemas import AsyncPredictRequest
from api.upstream.attaching import attached, files_of, may_refer
from api.webhook_urls import check_webhook
from deployments.attached import written
from deployments.registry.records import Deployment
from tasks import payloads
from tasks.api_keys import ApiKey
from tasks.job import RequestId, Submission
from tasks.store import verbs

LONGEST_KEY = 256  # characters of an Idempotency-Key


async def submit(
    request: Request,
    key: ApiKey,
    deployment: Deployment,
    body: bytes,
    asked: list[AsyncPredictRequest],
) -> list[RequestId]:
    """Queues the requests, all or none. Raises Problem, AdmissionError, FileMissing and the errors of the stores."""
    gateway, limits = gateway_of(request), key.limits
    trace = traceparent_of(request)
    jobs = [_submission(gateway, deployment, item, trace) for item in asked]
    jobs = await _with_files(gateway, key.id, jobs, asked)
    idempotency_key = idempotency_key_of(request)
    await write_large(gateway, jobs)
    call = verbs.submit(
        jobs,
        key.id,
        gateway.settings.max_queued,
        idempotency_key,
        hashlib.sha256(deployment.id.encode() + body).hexdigest() if idempotency_key else "",
        int(gateway.settings.idempotency_seconds * 1000),
        limits.submits_per_minute or 0,
        limits.max_unfinished or 0,
    )
    return await gateway.store.run(call)


async def _with_files(
    gateway: Gateway, key_id: str, jobs: list[Submission], asked: list[AsyncPredictRequest]
) -> list[Submission]:
    """The jobs, each with the files that its input refers to. Raises Problem and FileMissing."""
    if not any(may_refer(job.input) for job in jobs):
        return jobs
    found = await files_of(gateway, key_id, [item.model_input for item in asked])
    return [
        replace(job, files=written(attached(files))) for job, files in zip(jobs, found, strict=True)
    ]


def idempotency_key_of(request: Request) -> str:
    """The Idempotency-Key, '' if there is none. Raises Problem 400 for one that is too long."""
    given = request.headers.get("idempotency-key", "")
    if len(given) > LONGEST_KEY:
        message = f"An Idempotency-Key has at most {LONGEST_KEY} characters."
        raise Problem(400, "client_error", message)
    return given


async def write_large(gateway: Gateway, jobs: list[Submission]) -> None:
    """Stores large inputs in the payload store. Those of a refused submission are deleted later."""
    large = [job for job in jobs if job.input_ref]
    if large:
        refs = [job.input_ref for job in large]
        await gateway.store.run(verbs.spill(refs, payloads.INPUT_MS))
        for job in large:
            await gateway.payloads.write(job.input_ref, job.input)


def _submission(
    gateway: Gateway, deployment: Deployment, asked: AsyncPredictRequest, trace: str
) -> Submission:
    if asked.webhook_endpoint is not None:
        check_webhook(asked.webhook_endpoint, gateway.settings)
    request_id = RequestId(new_request_id())
    model_input = bodies.encoded(asked.model_input)
    large = len(model_input) > gateway.settings.spill_bytes
    return Submission(
        request_id=request_id,
        deployment_id=deployment.id,
        model_id=deployment.model_id,
        input=model_input,
        level=asked.level,
        max_time_in_queue_ms=asked.max_time_in_queue_ms,
        retry=asked.retry,
        webhook=asked.webhook_endpoint or "",
        traceparent=trace,
        chain_id=deployment.model_id if deployment.kind == "chain" else "",
        input_ref=payloads.input_ref(request_id) if large else "",
        output_files=bool(asked.output_files),
    )

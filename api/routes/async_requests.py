"""Async requests: submit, status, result, events, cancel, priority."""

import contextlib
from collections.abc import AsyncGenerator, Sequence
from time import monotonic
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import TypeAdapter
from pydantic_core import to_json

from api import body as bodies
from api.audit import steered
from api.gateway import (
    Caller,
    Gateway,
    authenticate,
    deployment_for,
    gateway_of,
    owner_for,
)
from api.problems import Problem, no_such_request
from api.routes.jobs.retrying import check_deployment
from api.routes.jobs.schemas import MoveRequest, PurgeResponse
from api.routes.sse import event_source, while_logged_in
from api.routes.submitting import submit
from api.routes.target import TargetOf
from api.schemas import (
    AsyncPredictBatchResponse,
    AsyncPredictRequest,
    AsyncPredictResponse,
    CancelResponse,
    DeliveryView,
    QueueStatusResponse,
    RequestStatus,
)
from api.targets import TARGETS
from api.unknown_fields import warnings
from api.upstream.waiting import FOR_OTHERS, deactivated, warning
from deployments.registry.nodes import needs_node, nodes, why_unplaced
from deployments.registry.records import Deployment
from priority.waiting import NOTHING, Waiting, for_a_replica, in_the_queue
from tasks.api_keys import ApiKey, sees_model_errors
from tasks.errors import NotFound, QueueFull
from tasks.job import Job, Reading
from tasks.outside_text import whole_number
from tasks.state import FINAL, Status
from tasks.steering import verbs as steering
from tasks.store import verbs
from tasks.store.verbs import CancelResult, MoveResult, PurgeResult
from tasks.webhooks import verbs as outbox
from tasks.webhooks.verbs import Redelivery

router = APIRouter(tags=["async"])
ONE = TypeAdapter(AsyncPredictRequest)
MOVE = TypeAdapter(MoveRequest)
EVENT_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}
SMALL_BODY = 4096  # bytes
LONGEST_WAIT = 60.0  # s, of one long poll


async def async_predict(request: Request, target: TargetOf) -> Response:
    """Queues a request and returns its id at once."""
    key = await authenticate(request)
    deployment = await deployment_for(request, key, target)
    body = await bodies.read(request, gateway_of(request).settings.max_async_body_bytes)
    asked = bodies.parse(ONE, body)
    (request_id,) = await submit(request, key, deployment, body, [asked])
    warned = [*warnings([asked]), *_warning(request, deployment, key)]
    return _accepted({"request_id": request_id}, warned, request_id)


async def async_run_remote(request: Request, target: TargetOf) -> Response:
    """Queues a chain's run: the envelope of async_predict, or the bare arguments."""
    key = await authenticate(request)
    deployment = await deployment_for(request, key, target)
    body = await bodies.read(request, gateway_of(request).settings.max_async_body_bytes)
    arguments = bodies.parse(TypeAdapter(dict[str, object]), body)
    envelope = arguments if "model_input" in arguments else {"model_input": arguments}
    asked = bodies.validated(ONE, envelope)
    (request_id,) = await submit(request, key, deployment, body, [asked])
    warned = [*warnings([asked]), *_warning(request, deployment, key)]
    return _accepted({"request_id": request_id}, warned, request_id)


async def async_predict_batch(request: Request, target: TargetOf) -> Response:
    """Queues a list of requests, all or none."""
    key = await authenticate(request)
    deployment = await deployment_for(request, key, target)
    body = await bodies.read(request, gateway_of(request).settings.max_async_body_bytes)
    asked = await bodies.validated_items(ONE, bodies.decoded(body))
    ids = await submit(request, key, deployment, body, asked)
    warned = [*warnings(asked, batch=True), *_warning(request, deployment, key)]
    return _accepted({"request_ids": ids}, warned)


async def async_queue_status(request: Request, target: TargetOf) -> QueueStatusResponse:
    """How many requests wait and run."""
    key = await authenticate(request)
    deployment = await deployment_for(request, key, target)
    gateway = gateway_of(request)
    rate = key.limits.queue_status_calls_per_minute or 0
    status = await gateway.store.run(verbs.queue_status(deployment.id, key.id, rate))
    return QueueStatusResponse.of(deployment.model_id, deployment.id, status)


for _prefix in TARGETS:
    router.post(f"{_prefix}/async_predict", status_code=201, response_model=AsyncPredictResponse)(
        async_predict
    )
    router.post(
        f"{_prefix}/async_run_remote", status_code=201, response_model=AsyncPredictResponse
    )(async_run_remote)
    router.post(
        f"{_prefix}/async_predict_batch", status_code=201, response_model=AsyncPredictBatchResponse
    )(async_predict_batch)
    router.get(f"{_prefix}/async_queue_status", response_model=QueueStatusResponse)(
        async_queue_status
    )


@router.get("/async_request/{request_id}", response_model=RequestStatus)
async def status(
    request: Request,
    request_id: str,
    key: Caller,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT)] = 0,
) -> RequestStatus:
    """The status of a request. With `wait` (seconds) it answers when the status is final, at the latest after that time, or when the API stops."""
    gateway = gateway_of(request)
    wait = wait or _preferred_wait(request)
    reading = await _read(gateway, request_id, key)
    if wait and reading.job.status not in FINAL:
        reading = await _wait_final(gateway, request_id, key, wait)
    return await _status_of(gateway, reading, key)


async def job_and_status(
    request: Request, request_id: str, key: ApiKey
) -> tuple[Job, RequestStatus]:
    """The same for a page, with the record. It counts for no rate: a page shows many requests. Raises Problem 404."""
    gateway = gateway_of(request)
    reading = await _read(gateway, request_id, key, counted=False)
    return reading.job, await _status_of(gateway, reading, key)


async def statuses(
    request: Request, request_ids: Sequence[str], key: ApiKey
) -> dict[str, RequestStatus]:
    """How these requests of a page stand now, by id, without those that are gone. It counts for no rate."""
    gateway, waits = gateway_of(request), dict[str, Waiting]()
    readings = await gateway.store.run(steering.look(request_ids, owner_for(key)))
    return {id_: await _status_of(gateway, each, key, waits) for id_, each in readings.items()}


@router.delete("/async_request/{request_id}", response_model=CancelResponse)
async def cancel(request: Request, request_id: str) -> CancelResponse:
    """Cancels a queued or running request. No result is written afterwards."""
    gateway, key = gateway_of(request), await authenticate(request)
    rate = key.limits.status_calls_per_minute or 0
    stops = gateway.settings.cancel_running
    call = verbs.cancel(request_id, owner_for(key), stops, rate, key.id)
    async with steered(request, key, "request.cancel", request_id):
        word, final = await gateway.store.run(call)
        if word is CancelResult.MISSING:
            raise no_such_request()
    canceled = word in (CancelResult.CANCELED, CancelResult.STOPPING)
    return CancelResponse(
        request_id=request_id, canceled=canceled, message=_cancel_message(word, final)
    )


@router.post("/async_request/{request_id}/purge", response_model=PurgeResponse)
async def purge(request: Request, request_id: str) -> PurgeResponse:
    """Deletes a request with its input, output and events, before its time. One that is not final is cancelled."""
    gateway, key = gateway_of(request), await authenticate(request)
    async with steered(request, key, "request.purge", request_id):
        word = await gateway.store.run(verbs.purge(request_id, owner_for(key)))
        if word is PurgeResult.MISSING:
            raise no_such_request()
    return PurgeResponse(request_id=request_id, purged=word is PurgeResult.PURGED)


@router.patch("/async_request/{request_id}", response_model=RequestStatus)
async def move(request: Request, request_id: str) -> RequestStatus:
    """Moves a queued request to another priority, to another deployment of its model, or both: `{"priority": 0..2, "deployment_id": ID}`."""
    gateway, key = gateway_of(request), await authenticate(request)
    async with steered(request, key, "request.move", request_id) as change:
        body = await bodies.read(request, SMALL_BODY)
        asked, model_id = bodies.parse(MOVE, body), ""
        change.target = f"{request_id} {asked.model_dump_json(exclude_none=True)}"
        if asked.deployment_id:
            model_id = (await check_deployment(gateway, key, asked.deployment_id)).model_id
        call = verbs.move(
            request_id,
            asked.priority,
            owner_for(key),
            asked.deployment_id or "",
            model_id,
            gateway.settings.max_queued,
        )
        _refuse_unmoved(await gateway.store.run(call))
    return await _status_of(gateway, await _read(gateway, request_id, key, counted=False), key)


@router.get("/async_request/{request_id}/events", responses=EVENT_STREAM, response_class=Response)
async def events(request: Request, request_id: str) -> StreamingResponse:
    """Server-Sent Events: status, progress, output, done; resumes after `Last-Event-ID`."""
    gateway, key = gateway_of(request), await authenticate(request)
    reading = await _read(gateway, request_id, key)
    after = request.headers.get("last-event-id", "")

    async def chunks() -> AsyncGenerator[str]:
        events = event_source(gateway.hub, reading, after)
        async for chunk in while_logged_in(request, events):
            yield chunk

    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(chunks(), media_type="text/event-stream", headers=headers)


@router.get("/async_request/{request_id}/webhook")
async def webhook(request: Request, request_id: str) -> DeliveryView:
    """How the request's webhook stands: every attempt with what came of it, and when the next one is due. 409 if it has none."""
    gateway, key = gateway_of(request), await authenticate(request)
    found = await gateway.store.run(outbox.delivery(request_id, owner_for(key)))
    if found is None:
        raise no_such_request()
    if not found.url:
        raise Problem(409, "client_error", "The request has no webhook.")
    return DeliveryView.of(request_id, found)


@router.post("/async_request/{request_id}/webhook/redeliver", status_code=202)
async def redeliver(request: Request, request_id: str) -> dict[str, str]:
    """Sends the webhook again with the same webhook-id and all its attempts."""
    gateway, key = gateway_of(request), await authenticate(request)
    async with steered(request, key, "request.redeliver", request_id):
        word = await gateway.store.run(outbox.redeliver(request_id, owner_for(key)))
        if word is Redelivery.MISSING:
            raise no_such_request()
        if word is not Redelivery.QUEUED:
            why = "is not final yet" if word is Redelivery.NOT_FINAL else "has no webhook"
            raise Problem(409, "client_error", f"The request {why}.")
    return {"request_id": request_id, "webhook_status": "PENDING"}


def _refuse_unmoved(word: MoveResult) -> None:
    if word is MoveResult.MISSING:
        raise no_such_request()
    if word is MoveResult.NOT_QUEUED:
        raise Problem(409, "client_error", "Only a queued request can be moved.")
    if word is MoveResult.OTHER_MODEL:
        raise Problem(409, "client_error", "The deployment is not of the request's model.")
    if word is MoveResult.FULL:
        raise QueueFull


def _accepted(said: dict[str, object], warned: list[str], request_id: str = "") -> Response:
    headers = {"x-baseten-request-id": request_id} if request_id else {}
    body = said | {"warnings": warned} if warned else said
    return Response(to_json(body), 201, headers, media_type="application/json")


def _warning(request: Request, deployment: Deployment, key: ApiKey) -> list[str]:
    return warning(deployment, sees_model_errors(gateway_of(request).settings, key.scope))


async def _read(gateway: Gateway, request_id: str, key: ApiKey, counted: bool = True) -> Reading:
    rate = (key.limits.status_calls_per_minute or 0) if counted else 0
    try:
        return await gateway.store.run(verbs.read(request_id, owner_for(key), rate, key.id))
    except NotFound:
        raise no_such_request() from None


async def _wait_final(gateway: Gateway, request_id: str, key: ApiKey, seconds: float) -> Reading:
    ends = monotonic() + seconds
    async with gateway.hub.watch(request_id) as news:
        while True:
            news.clear()
            reading = await _read(gateway, request_id, key, counted=False)
            left = ends - monotonic()
            if reading.job.status in FINAL or left <= 0 or gateway.hub.closing:
                return reading
            await gateway.hub.wait(news, left)


async def _status_of(
    gateway: Gateway, reading: Reading, key: ApiKey, waits: dict[str, Waiting] | None = None
) -> RequestStatus:
    """The status. `waits` remembers, for many requests, what those of a deployment wait for while no replica takes them."""
    known = gateway.directory.of(reading.job.deployment_id)
    slots = sum(replica.slots for replica in known if replica.state == "ready")
    detailed = sees_model_errors(gateway.settings, key.scope)
    waiting = NOTHING
    if reading.job.status is Status.QUEUED:
        waiting = in_the_queue(reading.hold, reading.backoff_ms, slots)
        if waiting == NOTHING:
            waits, deployment_id = {} if waits is None else waits, reading.job.deployment_id
            if deployment_id not in waits:
                waits[deployment_id] = await _for_a_replica(gateway, deployment_id, detailed)
            waiting = waits[deployment_id]
    return RequestStatus.of(reading, detailed, waiting, slots)


async def _for_a_replica(gateway: Gateway, deployment_id: str, detailed: bool) -> Waiting:
    known = gateway.directory.of(deployment_id)
    replicas = [replica for replica in known if replica.state != "draining"]
    gave_up, failure, off, unplaced = False, "", "", ""
    with contextlib.suppress(NotFound):
        deployment = await gateway.resolver.deployment(deployment_id)
        gave_up, off = deployment.gave_up, "" if deployment.active else deactivated(deployment)
        failure = deployment.failure if detailed else deployment.failure and FOR_OTHERS
        if needs_node(deployment, known):
            unplaced = why_unplaced(await gateway.store.run(nodes()), deployment)
    note = next((replica.note for replica in replicas if replica.note), None)
    states = {replica.state for replica in replicas}
    return for_a_replica(states, note, failure, gave_up, off, unplaced)


def _preferred_wait(request: Request) -> float:
    """The seconds of a `Prefer: wait=S` header (RFC 7240), at most the longest wait."""
    for part in request.headers.get("prefer", "").split(","):
        name, _, value = part.strip().partition("=")
        seconds = whole_number(value.strip(), int(LONGEST_WAIT))
        if name.strip().lower() == "wait" and seconds is not None:
            return seconds
    return 0.0


def _cancel_message(word: CancelResult, final: Status | None) -> str:
    match word:
        case CancelResult.CANCELED:
            return "The request was canceled before it ran."
        case CancelResult.STOPPING:
            return "The request was canceled; its model call is being stopped."
        case CancelResult.ALREADY_CANCELED:
            return "The request is already canceled."
        case CancelResult.RUNNING:
            return "The request is in progress and runs to its end."
        case _:
            return f"The request is already {final}."

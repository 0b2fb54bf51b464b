"""Responses in the background, as OpenAI's clients ask for them: `POST /v1/responses` with `"background": true` is a queued job.

A model that only has `chat_completions` answers a chat; the response is made from it. With `"stream": true` the model streams, and
the events of the response are made from what it has streamed, each time somebody reads them.
"""

import hashlib
import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Annotated, Any, cast

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from api import body as bodies
from api.audit import steered
from api.dialects.responses import Streamed, as_chat, response_in
from api.events import Event
from api.gateway import (
    Caller,
    Gateway,
    deployment_for,
    gateway_of,
    new_request_id,
    owner_for,
)
from api.problems import Problem
from api.routes.sse import PING_SECONDS, START, Chunks
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
CHAT = "/v1/chat/completions"
QUEUED_MS = 24 * 3_600_000  # that a response may wait in the queue
MOST_OUTPUT = 16 << 20  # bytes of a response that is read to be shown
SHOWN: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {}}}
}
WORDS = {
    Status.QUEUED: "queued",
    Status.IN_PROGRESS: "in_progress",
    Status.SUCCEEDED: "completed",
    Status.CANCELED: "cancelled",
}
NO_METHOD = (
    "The model {} answers no responses: its model.py has neither responses nor chat_completions."
    " Add one of these methods, or queue a request with async_predict."
)
EVENTS = {"cache-control": "no-store", "x-accel-buffering": "no"}  # headers of a stream
ENDS = {"completed": "response.completed", "cancelled": "response.incomplete"}  # else it failed


def asked_for(request: Request, body: bytes) -> dict[str, Any] | None:
    """The body of a response in the background, without that field; None for any other call. Raises Problem 400."""
    if request.scope["path"] != PATH or FIELD not in body:
        return None
    said = bodies.decoded(body)
    if not isinstance(said, dict) or said.get("background") is not True:  # type: ignore[union-attr]
        return None
    fields = cast("dict[str, Any]", said)
    return {name: value for name, value in fields.items() if name != "background"}


async def submitted(
    request: Request, key: ApiKey, asked: dict[str, Any], target: Target
) -> Response:
    """Queues the response, and streams its events if the caller asks for them. Raises Problem, NotFound and AdmissionError."""
    gateway, request_id = gateway_of(request), RequestId(new_request_id())
    deployment = await deployment_for(request, key, target)
    known = await gateway.packages.chatting(deployment)
    if known.answers_nothing:
        raise Problem(400, "client_error", NO_METHOD.format(deployment.model_name), more={"param": "model"})  # fmt: skip
    only_chats = known.only_chats
    body = json.dumps(as_chat(asked) if only_chats else asked).encode()
    job = Submission(
        request_id=request_id,
        deployment_id=deployment.id,
        model_id=deployment.model_id,
        input=body,
        max_time_in_queue_ms=QUEUED_MS,
        path=CHAT if only_chats else PATH,
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
    queued = await _job(gateway, key, known)
    if asked.get("stream"):
        return _streamed(gateway, key, queued, -1)
    return JSONResponse(await _shown(gateway, key, queued))


@router.get("/{response_id}", response_class=Response, responses=SHOWN)
async def retrieve(
    request: Request,
    key: Caller,
    response_id: str,
    stream: bool = False,
    starting_after: Annotated[int, Query(ge=-1)] = -1,
) -> Response:
    """A response in the background: how it stands, and its output when it is completed; or its events after that sequence number."""
    gateway = gateway_of(request)
    job = await _job(gateway, key, _id_in(response_id))
    if stream:
        return _streamed(gateway, key, job, starting_after)
    return JSONResponse(await _shown(gateway, key, job))


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
    if job is None or job.path not in (PATH, CHAT):
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
    """What the model answered, as a response. Raises Problem 410 if it is gone, and 502 if it is no response object."""
    if (job.output_bytes or 0) > MOST_OUTPUT:
        raise Problem(502, "model_unavailable", "The model's answer is too long.")
    output = await _answered(gateway, job)
    if (said := response_in(output, job.path == CHAT)) is None:
        raise Problem(502, "model_unavailable", "The model's answer is no response object.")
    return said


async def _answered(gateway: Gateway, job: Job) -> bytes:
    """What the model answered, as it is. Raises Problem 410 if it is gone."""
    try:
        if job.output_ref:
            return await gateway.payloads.read_whole(job.output_ref)
        return await gateway.store.output(job.request_id) or b""
    except NotFound:
        raise Problem(410, "application_error", "The output is gone.") from None


def _streamed(gateway: Gateway, key: ApiKey, job: Job, after: int) -> StreamingResponse:
    events = _numbered(gateway, key, job, after)
    return StreamingResponse(events, media_type="text/event-stream", headers=EVENTS)


async def _numbered(gateway: Gateway, key: ApiKey, job: Job, after: int) -> AsyncGenerator[str]:
    """The events after that sequence number. They are made anew from the first, so the numbers are always the same."""
    number = 0
    async for event in _events(gateway, key, job):
        if event is None:
            yield ": still here\n\n"
            continue
        if number > after:
            text = json.dumps({**event, "sequence_number": number})
            yield f"event: {event['type']}\ndata: {text}\n\n"
        number += 1


async def _events(gateway: Gateway, key: ApiKey, job: Job) -> AsyncGenerator[dict[str, Any] | None]:
    """All events, those to come too; None when nothing has come for a while. Ends early when the API stops."""
    begun = {**await _shown(gateway, key, replace(job, status=Status.QUEUED))}
    yield {"type": "response.created", "response": begun}
    position, runs, chunks, streamed = START, False, Chunks(), Streamed()
    async with gateway.hub.watch(job.request_id) as news:
        while not gateway.hub.closing:
            news.clear()
            events = await gateway.hub.read(job.request_id, position)
            if events is None:
                return
            for event in events:
                if event.kind == "truncated":
                    event = await _whole(gateway, key, job, event)
                if not runs and event.kind == "output":
                    runs = True
                    yield {"type": "response.in_progress", "response": {**begun, "status": "in_progress"}}  # fmt: skip
                for told in _of_model(chunks, streamed, event, position):
                    yield told
                position = event.id
                if event.kind == "done":
                    for told in streamed.end():
                        yield told
                    shown = await _shown(gateway, key, await _job(gateway, key, job.request_id))
                    yield {"type": ENDS.get(shown["status"], "response.failed"), "response": shown}
                    return
                news.set()  # there may be more than one page
            if not news.is_set() and not await gateway.hub.wait(news, PING_SECONDS):
                yield None


async def _whole(gateway: Gateway, key: ApiKey, job: Job, event: Event) -> Event:
    """All that the model has streamed, in place of the chunks that are no longer kept."""
    final = await _job(gateway, key, job.request_id)
    if final.status is not Status.SUCCEEDED or (final.output_bytes or 0) > MOST_OUTPUT:
        return event
    return Event(event.id, "output", await _answered(gateway, final))


def _of_model(
    chunks: Chunks, streamed: Streamed, event: Event, before: str
) -> list[dict[str, Any]]:
    texts = [told.data.decode() for told in chunks.told(event, before) if told.kind == "output"]
    return [told for text in texts for told in streamed.take(text)]

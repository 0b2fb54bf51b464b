"""Webhooks for development: those of a key as Server-Sent Events, for a receiver that the server cannot reach, and one delivery as a test."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Generator
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from api import body as bodies
from api.audit import steered
from api.gateway import Gateway, authenticate, gateway_of, new_request_id
from api.problems import Problem
from api.routes.sse import HeldStream
from api.webhook_urls import LONGEST, PATTERN, check_webhook
from tasks.api_keys import ApiKey, sees_model_errors
from tasks.errors import NotFound, PayloadUnavailable, StoreUnavailable
from tasks.job import Job
from tasks.outside_text import text_of
from tasks.webhooks import payload, verbs
from tasks.webhooks.secrets import signing
from tasks.webhooks.signatures import headers_for
from tasks.webhooks.verbs import BEGINNING, Final, FinalsPlace

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])
EVENT_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}
LOOK_SECONDS = 1.0  # between two looks for final requests
PING_LOOKS = (
    15  # looks that found nothing, after which a comment keeps proxies from closing the stream
)
MOST = 4  # streams and tests of a key at once, on one API process
SMALL_BODY = 4096  # bytes
ANSWER_SHOWN = 1000  # bytes
GOODBYE = "retry: 1000\n: the server stops; connect again\n\n"


class TestBody(BaseModel):
    """POST /v1/webhooks/test."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[str, Field(max_length=LONGEST, json_schema_extra={"pattern": PATTERN})]


class Tested(BaseModel):
    """What the receiver answered: `status` and `answer` (its first 1,000 bytes), or why there was none in `error`; and what was sent."""

    status: int | None
    answer: str
    error: str | None
    milliseconds: float
    signed: bool = Field(description="False while the server has no webhook secret.")
    headers: dict[str, str]
    body: str


@router.get("/listen", responses=EVENT_STREAM, response_class=Response)
async def listen(request: Request) -> HeldStream:
    """Server-Sent Events: `delivery` with the headers and the body of a webhook for each of the key's own requests that becomes final, with a `webhook_endpoint` or without. Resumes after `Last-Event-ID`."""
    gateway, key = gateway_of(request), await authenticate(request)
    place = FinalsPlace.of(request.headers.get("last-event-id", ""))
    _check_room(gateway, key)
    return HeldStream(_deliveries(gateway, key, place), _held(gateway, key))


@router.post("/test", response_model=Tested)
async def send_test(request: Request) -> Tested:
    """Sends one signed webhook to a URL, by the rules for webhook endpoints, and tells what came back."""
    gateway, key = gateway_of(request), await authenticate(request)
    async with steered(request, key, "webhook.test") as change:
        body = await bodies.read(request, SMALL_BODY)
        url = bodies.parse(TypeAdapter(TestBody), body).url
        change.target = url
        check_webhook(url, gateway.settings)
        _check_room(gateway, key)
        with _held(gateway, key):
            return await _sent(gateway, url)


def _check_room(gateway: Gateway, key: ApiKey) -> None:
    if gateway.listening[key.id] >= MOST:
        message = f"This key listens to webhooks or tests them {MOST} times already; end one first."
        raise Problem(429, "rate_limited", message, {"Retry-After": "10"})


@contextlib.contextmanager
def _held(gateway: Gateway, key: ApiKey) -> Generator[None]:
    gateway.listening[key.id] += 1
    try:
        yield
    finally:
        gateway.listening[key.id] -= 1


async def _deliveries(gateway: Gateway, key: ApiKey, place: FinalsPlace) -> AsyncGenerator[str]:
    """Frames until the API stops, the client leaves or the store cannot be reached."""
    with contextlib.suppress(StoreUnavailable, PayloadUnavailable):
        if place == BEGINNING:
            place = (await gateway.store.run(verbs.finals(key.id, place))).place
        yield _frame(place, "listening", {})
        quiet = 0
        while not gateway.hub.closing:
            part = await gateway.store.run(verbs.finals(key.id, place))
            for final in part.finals:
                yield _frame(final.place, "delivery", await _delivery(gateway, key, final))
            quiet = 0 if part.finals else quiet + 1
            if part.place == place:
                await asyncio.sleep(LOOK_SECONDS)
            place = part.place
            if quiet and quiet % PING_LOOKS == 0:
                yield f"id: {place}\n: still here\n\n"
    yield GOODBYE


async def _delivery(gateway: Gateway, key: ApiKey, final: Final) -> dict[str, Any]:
    """The webhook of a final request as the sender would send it now. Raises PayloadUnavailable."""
    job = final.job
    detailed = sees_model_errors(gateway.settings, key.scope)
    body = payload.body(job, await _output(gateway, job, final.output), detailed=detailed)
    return {
        "request_id": job.request_id,
        "status": job.status,
        "webhook_endpoint": job.webhook or None,
        "headers": headers_for(job.request_id, body, await _secrets(gateway), int(time.time())),
        "body": body.decode(),
    }


async def _output(gateway: Gateway, job: Job, output: bytes) -> bytes | None:
    """The output to send, None if it is too large for a webhook or gone."""
    if not job.output_ref:
        return output
    if (job.output_bytes or 0) > gateway.settings.webhook_max_data_bytes:
        return None
    try:
        return await gateway.payloads.read_whole(job.output_ref)
    except NotFound:
        return None


async def _secrets(gateway: Gateway) -> list[str]:
    return [secret.secret for secret in await gateway.store.run(signing())]


async def _sent(gateway: Gateway, url: str) -> Tested:
    request_id = new_request_id()
    body = payload.test_body(request_id)
    active = await _secrets(gateway)
    headers = headers_for(request_id, body, active, int(time.time()))
    from tasks.webhooks.egress import post_once  # its HTTP client is a tenth of the API's start

    began = time.monotonic()
    got = await post_once(url, headers, body, gateway.settings)
    answered = None if isinstance(got, str) else got
    return Tested(
        status=answered.status if answered else None,
        answer=text_of(answered.body[:ANSWER_SHOWN]) if answered else "",
        error=got if isinstance(got, str) else None,
        milliseconds=round((time.monotonic() - began) * 1000, 1),
        signed=bool(active),
        headers=headers,
        body=body.decode(),
    )


def _frame(place: FinalsPlace, kind: str, said: dict[str, Any]) -> str:
    return f"id: {place}\nevent: {kind}\ndata: {json.dumps(said)}\n\n"

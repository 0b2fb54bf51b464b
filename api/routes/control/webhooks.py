"""Webhooks, for keys with the scope `admin`: the secrets that sign them, and those whose delivery was given up."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool, TypeAdapter

from api import body as bodies
from api.audit import audits
from api.gateway import Admin, gateway_of, new_request_id
from api.problems import Problem
from api.routes import stepping
from api.routes.jobs.schemas import BulkAnswer, Id
from api.schemas import AttemptView, time_in
from tasks.access.audit import Change
from tasks.outside_text import utf8
from tasks.steering import verbs as steering
from tasks.steering.verbs import Progress
from tasks.webhooks import secrets, verbs
from tasks.webhooks.secrets import WebhookSecret
from tasks.webhooks.signatures import new_secret
from tasks.webhooks.verbs import GivenUp, OnItsWay, Redelivery

router = APIRouter(prefix="/v1", tags=["webhooks"])
LARGEST_BODY = 200_000  # bytes
MOST = 1000  # redeliveries in one call


class SecretView(BaseModel):
    """A secret that signs webhooks, with its middle hidden."""

    secret: str
    created_at: datetime
    signs_until: datetime | None = Field(description="Null for the newest.")

    @classmethod
    def of(cls, secret: WebhookSecret) -> "SecretView":
        """The secret as it is shown."""
        expires = secret.expires
        until = None if expires is None else datetime.fromtimestamp(expires, UTC)
        made = datetime.fromtimestamp(secret.created, UTC)
        return cls(secret=secret.hidden, created_at=made, signs_until=until)


class SecretsView(BaseModel):
    """The secrets that sign now, newest first."""

    webhook_secrets: list[SecretView]


class NewSecret(BaseModel):
    """A secret that has just been made. It is shown this once."""

    secret: str


class GivenUpView(BaseModel):
    """A webhook whose delivery was given up."""

    request_id: str
    given_up_at: datetime
    url: str
    attempts: list[dict[str, Any]]

    @classmethod
    def of(cls, given_up: GivenUp) -> "GivenUpView":
        """It as it is shown."""
        at = datetime.fromtimestamp(given_up.at / 1000, UTC)
        return cls(
            request_id=given_up.request_id,
            given_up_at=at,
            url=given_up.url,
            attempts=given_up.attempts,
        )


class OnItsWayView(BaseModel):
    """A webhook that is not delivered yet."""

    request_id: str
    url: str
    next_attempt_at: datetime | None = Field(description="Null while an attempt runs.")
    attempts: list[AttemptView]

    @classmethod
    def of(cls, found: OnItsWay) -> "OnItsWayView":
        """It as it is shown."""
        return cls(
            request_id=found.request_id,
            url=found.url,
            next_attempt_at=None if found.next_in is None else time_in(found.next_in),
            attempts=[AttemptView.model_validate(attempt) for attempt in found.attempts],
        )


class WebhooksView(BaseModel):
    """How many webhooks are on their way, how many were given up, those that were given up last, and those that are tried next."""

    pending: int
    given_up: int
    latest: list[GivenUpView]
    on_their_way: list[OnItsWayView]


class RedriveBody(BaseModel):
    """POST /v1/webhooks/redrive."""

    model_config = ConfigDict(extra="forbid")

    request_ids: Annotated[
        list[Annotated[str, Field(max_length=100)]], Field(min_length=1, max_length=MOST)
    ]


class Redriven(BaseModel):
    """What was found for each request: `queued`, `not_final`, `no_webhook` or `missing`."""

    results: dict[str, Redelivery]


class RedriveAllBody(BaseModel):
    """POST /v1/webhooks/redrive_all."""

    model_config = ConfigDict(extra="forbid")

    dry_run: Annotated[StrictBool, Field(description="Only counts.")] = False
    operation: Annotated[
        Id | None,
        Field(description="A name of the caller's choice; with the same, a call goes on."),
    ] = None


@router.get("/webhook_secrets", response_model=SecretsView)
async def listed_secrets(request: Request, _: Admin) -> SecretsView:
    """The secrets that sign webhooks now, newest first, with their middle hidden."""
    known = await gateway_of(request).store.run(secrets.signing())
    return SecretsView(webhook_secrets=[SecretView.of(secret) for secret in known])


@router.post("/webhook_secrets", status_code=201, response_model=NewSecret)
async def rotate(
    request: Request,
    _: Annotated[Change, audits("webhook_secret.rotate", "admin")],
    first: Annotated[bool, Query(description="Only if no other secret signs; else 409.")] = False,
) -> NewSecret:
    """Makes the first or the next secret, and shows it this once. The one before it still signs for 24 hours."""
    fresh = new_secret()
    if not await gateway_of(request).store.run(secrets.rotate(fresh, first)):
        raise Problem(409, "client_error", "There is a secret already, which signs webhooks.")
    return NewSecret(secret=fresh)


@router.get("/webhooks", response_model=WebhooksView)
async def given_up(
    request: Request, _: Admin, limit: Annotated[int, Query(ge=0, le=MOST)] = 100
) -> WebhooksView:
    """The webhooks whose delivery was given up, the latest first, and those on their way, the next first, with every attempt; at most `limit` of each."""
    status = await gateway_of(request).store.run(verbs.outbox_status(limit))
    latest = [GivenUpView.of(entry) for entry in status.latest]
    following = [OnItsWayView.of(entry) for entry in status.following]
    return WebhooksView(
        pending=status.pending,
        given_up=status.exhausted,
        latest=latest,
        on_their_way=following,
    )


@router.post("/webhooks/redrive", response_model=Redriven)
async def redrive(
    request: Request, change: Annotated[Change, audits("webhook.redeliver", "admin")]
) -> Redriven:
    """Sends the webhooks of these requests again, each with its webhook-id and all its attempts."""
    asked = bodies.parse(TypeAdapter(RedriveBody), await bodies.read(request, LARGEST_BODY))
    store, results = gateway_of(request).store, dict[str, Redelivery]()
    for request_id in asked.request_ids:
        results[request_id] = await store.run(verbs.redeliver(utf8(request_id)))
    queued = sum(word is Redelivery.QUEUED for word in results.values())
    change.target = f"{queued} of {len(results)} requests: {', '.join(results)}"
    return Redriven(results=results)


@router.post("/webhooks/redrive_all", response_model=BulkAnswer)
async def redrive_all(
    request: Request, change: Annotated[Change, audits("webhook.redeliver_all", "admin")]
) -> BulkAnswer:
    """Sends all webhooks again whose delivery was given up before, each with its webhook-id and all its attempts."""
    raw = await bodies.read(request, LARGEST_BODY) or b"{}"
    asked = bodies.parse(TypeAdapter(RedriveAllBody), raw)
    gateway, operation = gateway_of(request), asked.operation or new_request_id()
    change.target, change.changes = f"operation={operation}", not asked.dry_run
    if asked.dry_run:
        count = (await gateway.store.run(verbs.outbox_status())).exhausted
        return BulkAnswer.of(operation, Progress(True, count, count, 0, 0))
    name = await stepping.begin(gateway, change.actor, operation, "redrive_all")

    async def step() -> Progress:
        return await gateway.store.run(steering.redeliver_many(name))

    progress = await stepping.go_on(step)
    change.target += f": {progress.done} sent again"
    return BulkAnswer.of(operation, progress)

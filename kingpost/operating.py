"""The calls of whoever operates a server, described as those of `kingpost.calls`: keys, webhooks, models that are held back.

Keys and webhooks need a key with the scope `admin`; holding a model back needs one that may deploy.
"""

import uuid
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kingpost.calls import JSON, json_body, json_object, path_segment
from kingpost.errors import NotFound
from kingpost.flow import Emit, Flow, Request, Step, ask
from kingpost.managing import model_path
from kingpost.records import BulkProgress, Record
from kingpost.steering import repeat

STEP_SECONDS = 60.0  # how long an answer may take; the server works for about 10 s
LARGEST_PAGE = 1000  # entries of the audit log in one answer
RESENT = "queued"  # what the server answers for a webhook that it sends again
# Why a webhook is not sent again, by the word of the server.
NOT_RESENT = {"not_final": "is not final yet", "no_webhook": "has no webhook", "missing": "does not exist"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ApiKey(Record):
    """An API key. `key` is the key itself; only `create_key` returns it. A limit of None means that of the settings."""

    id: str
    scope: str
    name: str = ""
    state: str = "valid"
    created_at: datetime | None = None
    expires_at: datetime | None = None
    models: Sequence[str] = ()
    environments: Sequence[str] = ()
    limits: Mapping[str, int | None] = field(default_factory=dict[str, "int | None"])
    unfinished_requests: int = 0
    kept_requests: int = 0
    key: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class WebhookSecret(Record):
    """A secret that signs webhooks, with its middle hidden. The newest has no `signs_until`."""

    secret: str
    created_at: datetime | None = None
    signs_until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class GivenUp(Record):
    """A webhook whose delivery was given up, with every attempt."""

    request_id: str
    url: str = ""
    given_up_at: datetime | None = None
    attempts: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, kw_only=True)
class OnItsWay(Record):
    """A webhook that is not delivered yet, with every attempt. `next_attempt_at` is None while an attempt runs."""

    request_id: str
    url: str = ""
    next_attempt_at: datetime | None = None
    attempts: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Webhooks:
    """How many webhooks are on their way, how many were given up, the latest of those that were given up, and those that are tried next."""

    pending: int
    given_up: int
    latest: Sequence[GivenUp]
    on_their_way: Sequence[OnItsWay] = ()


@dataclass(frozen=True, kw_only=True)
class Node(Record):
    """A machine that runs replicas. `devices` and `replicas` are as the server says them."""

    id: str
    host: str = ""
    version: str = ""
    alive: bool = False
    reported_at: datetime | None = None
    heartbeat_age_seconds: float = 0.0
    started_at: datetime | None = None
    slots: int = 0
    free_slots: int = 0
    devices: Sequence[Mapping[str, Any]] = ()
    replicas: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, kw_only=True)
class Work(Record):
    """A deployment and its work. `slots` is how many calls can run at once now."""

    model: str
    deployment_id: str
    environments: Sequence[str] = ()
    status: str = ""
    paused: bool = False
    queued: int = 0
    running: int = 0
    ready_replicas: int = 0
    wanted_replicas: int = 0
    slots: int = 0


@dataclass(frozen=True, kw_only=True)
class History(Record):
    """The last hour of a deployment's async requests. Waits are from submission to the first claim. `minutes` has 60 of each, the oldest first."""

    model: str
    deployment_id: str
    claimed: int = 0
    waited_p50_seconds: float | None = None
    waited_p95_seconds: float | None = None
    ended: int = 0
    failed: int = 0
    error_share: float | None = None
    succeeded: int = 0
    expired: int = 0
    canceled: int = 0
    minutes: Mapping[str, Sequence[float | None]] = field(
        default_factory=dict[str, "Sequence[float | None]"]
    )


@dataclass(frozen=True, kw_only=True)
class AuditEntry(Record):
    """A change: who made it, when, on what, and `done` or why it was refused. `actor` is the id of a key, or `command line`."""

    id: str
    action: str
    at: datetime | None = None
    actor: str = ""
    name: str = ""
    target: str = ""
    result: str = ""


def audit(
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    actor: str | None = None,
    action: str | None = None,
    limit: int | None = None,
) -> Generator[Step | Emit[AuditEntry], Any, None]:
    """Who changed what, the newest first, page by page; `limit` is the most that come.

    `action` is an action (`key.create`) or all of a kind (`key`). A time without a zone is local time. It needs the scope `admin`.
    """
    times = {"since": since, "until": until}
    asked = {name: at.astimezone(UTC).isoformat() for name, at in times.items() if at}
    asked |= {name: text for name, text in {"actor": actor, "action": action}.items() if text}
    cursor, left = None, limit
    while left is None or left > 0:
        size = LARGEST_PAGE if left is None else min(left, LARGEST_PAGE)
        params = {**asked, "limit": str(size)} | ({"cursor": cursor} if cursor else {})
        said = json_object((yield from ask(Request("GET", "/v1/audit", params))))
        for entry in said["entries"]:
            yield Emit(AuditEntry.of(entry))
        left = None if left is None else left - len(said["entries"])
        cursor = said["cursor"]
        if cursor is None:
            return


def nodes() -> Flow[Sequence[Node]]:
    """The nodes, in the order of their hosts. A node that reports no more is shown for ten minutes. It needs a key that may deploy."""
    said = json_object((yield from ask(Request("GET", "/v1/nodes"))))
    return [Node.of(entry) for entry in said["nodes"]]


def overview() -> Flow[Sequence[Work]]:
    """Every deployment that is in use or has work, in the order of the models. It needs a key that may deploy."""
    said = json_object((yield from ask(Request("GET", "/v1/overview"))))
    return [Work.of(entry) for entry in said["deployments"]]


def history(model: str | None = None, *, deployment: str | None = None) -> Flow[Sequence[History]]:
    """What became of the requests of the last hour, for the 100 busiest deployments. It needs a key that may deploy."""
    asked = {"model": model, "deployment": deployment}
    params = {name: value for name, value in asked.items() if value}
    said = json_object((yield from ask(Request("GET", "/v1/history", params))))
    return [History.of(entry) for entry in said["deployments"]]


def settings() -> Flow[Mapping[str, Any]]:
    """The settings of the API that are in force, by the names of their variables, without secrets. It needs the scope `admin`."""
    return json_object((yield from ask(Request("GET", "/v1/settings"))))["settings"]


def list_keys() -> Flow[Sequence[ApiKey]]:
    """Every key with its limits and its use, oldest first; never the key itself."""
    said = json_object((yield from ask(Request("GET", "/v1/keys"))))
    return [ApiKey.of(entry) for entry in said["keys"]]


def create_key(
    scope: str,
    *,
    name: str = "",
    models: Sequence[str] = (),
    environments: Sequence[str] = (),
    expires_in_days: float | None = None,
    limits: Mapping[str, int | None] | None = None,
) -> Flow[ApiKey]:
    """Makes a key. Only this answer has the key itself."""
    asked = {
        "scope": scope,
        "name": name,
        "models": list(models),
        "environments": list(environments),
        "expires_in_days": expires_in_days,
        "limits": dict(limits or {}),
    }
    request = Request("POST", "/v1/keys", headers=JSON, content=json_body(asked), repeatable=False)
    return ApiKey.of(json_object((yield from ask(request))))


def limit_key(key_id: str, limits: Mapping[str, int | None]) -> Flow[ApiKey]:
    """Changes the named limits of a key; None means the limit of the settings. They hold everywhere within two seconds.

    The names are those of `ApiKey.limits`.
    """
    path, body = f"/v1/keys/{path_segment(key_id)}", json_body({"limits": dict(limits)})
    request = Request("PATCH", path, headers=JSON, content=body)
    return ApiKey.of(json_object((yield from ask(request))))


def revoke_key(key_id: str) -> Flow[ApiKey]:
    """Revokes a key for good. It stops working everywhere within two seconds. Its requests stay."""
    path = f"/v1/keys/{path_segment(key_id)}"
    return ApiKey.of(json_object((yield from ask(Request("DELETE", path)))))


def delete_files_of_key(key_id: str) -> Flow[int]:
    """Deletes what a key has uploaded, and the output files of its sync calls. Returns how many go. Files that a request uses stay until that one is deleted."""
    path, params, deleted = f"/v1/keys/{path_segment(key_id)}/files", dict[str, str](), 0
    while True:
        request = Request("DELETE", path, params, read_seconds=STEP_SECONDS)
        said = json_object((yield from ask(request)))
        deleted += int(said["deleted"])
        if said["cursor"] is None:
            return deleted
        params = {"cursor": str(said["cursor"])}


def list_secrets() -> Flow[Sequence[WebhookSecret]]:
    """The secrets that sign webhooks now, newest first."""
    said = json_object((yield from ask(Request("GET", "/v1/webhook_secrets"))))
    return [WebhookSecret.of(entry) for entry in said["webhook_secrets"]]


def new_secret(*, first: bool = False) -> Flow[str]:
    """Makes a secret and returns it, which no other call does. The one before it signs for 24 hours more.

    With `first`, it raises Conflict if there is a secret already.
    """
    params = {"first": "true"} if first else {}
    request = Request("POST", "/v1/webhook_secrets", params, repeatable=False)
    return str(json_object((yield from ask(request)))["secret"])


def list_webhooks(limit: int = 100) -> Flow[Webhooks]:
    """The webhooks whose delivery was given up, the latest first, and those on their way, the next first; at most `limit` of each."""
    said = json_object((yield from ask(Request("GET", "/v1/webhooks", {"limit": str(limit)}))))
    latest = [GivenUp.of(row) for row in said["latest"]]
    following = [OnItsWay.of(row) for row in said.get("on_their_way", ())]
    return Webhooks(said["pending"], said["given_up"], latest, following)


def resend(request_id: str) -> Flow[None]:
    """Sends the webhook of a request again, with as many attempts as at first. Raises NotFound if there is none to send."""
    body = json_body({"request_ids": [request_id]})
    request = Request("POST", "/v1/webhooks/redrive", headers=JSON, content=body)
    word = json_object((yield from ask(request)))["results"].get(request_id, "missing")
    if word != RESENT:
        raise NotFound(f"The request {request_id} {NOT_RESENT.get(word, word)}.", 404)


def resend_all(
    *, dry_run: bool = False, operation: str | None = None
) -> Generator[Step | Emit[BulkProgress], Any, None]:
    """Sends all webhooks again that were given up before, and says how far it has come, until it is `finished`.

    `dry_run` only counts. A call that was cut off goes on if you call it again with the same `operation`.
    """
    body = {"dry_run": dry_run, "operation": operation or uuid.uuid4().hex}
    yield from repeat("/v1/webhooks/redrive_all", body)


def pause(model: str) -> Flow[int]:
    """Holds a model's queued requests back; running ones finish. Returns how many wait."""
    return (yield from _pause_or_resume(model, "pause"))


def resume(model: str) -> Flow[int]:
    """Lets a model's queued requests run again. Returns how many wait."""
    return (yield from _pause_or_resume(model, "resume"))


def _pause_or_resume(model: str, verb: str) -> Flow[int]:
    said = json_object((yield from ask(Request("POST", f"{model_path(model)}/{verb}"))))
    return int(said["waiting"])

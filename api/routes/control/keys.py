"""API keys, for keys with the scope `admin`: list, create, change their limits, revoke, delete their files. A key is shown once, and its hash never."""

import contextlib
from datetime import UTC, datetime
from time import monotonic, time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from api import body as bodies
from api.audit import audits
from api.gateway import Admin, Gateway, authenticate, gateway_of
from api.problems import Problem
from api.schemas import WHOLE
from tasks.access import keys
from tasks.access.audit import Change
from tasks.access.keys import KeyUse
from tasks.api_keys import LONGEST_DAYS, ApiKey, Limits, Scope, said
from tasks.errors import NotFound
from tasks.files.verbs import EndedFiles

router = APIRouter(prefix="/v1/keys", tags=["keys"])
own = APIRouter(tags=["keys"])
SMALL_BODY = 65_536  # bytes
SECONDS = 10.0  # of work in one call
Name = Annotated[str, Field(min_length=1, max_length=200)]
Limit = Annotated[int, Field(ge=0, le=2**31), WHOLE]


class KeyLimits(BaseModel):
    """A key's own limits. Null means the limit of the settings, 0 means no limit."""

    model_config = ConfigDict(extra="forbid")

    submits_per_minute: Limit | None = None
    status_calls_per_minute: Limit | None = None
    queue_status_calls_per_minute: Limit | None = None
    max_unfinished: Limit | None = None
    max_running: Limit | None = None


class NewKeyBody(BaseModel):
    """POST /v1/keys. Without `models` and `environments` it is for all of them."""

    model_config = ConfigDict(extra="forbid")

    scope: Scope
    name: Annotated[str, Field(max_length=200)] = ""
    models: Annotated[list[Name], Field(max_length=100)] = []
    environments: Annotated[list[Name], Field(max_length=100)] = []
    expires_in_days: Annotated[float, Field(gt=0, le=LONGEST_DAYS, strict=True)] | None = None
    limits: KeyLimits = KeyLimits()


class KeyChangeBody(BaseModel):
    """PATCH /v1/keys/{id}. Only limits can be changed."""

    model_config = ConfigDict(extra="forbid")

    limits: KeyLimits


class DeletedFilesView(BaseModel):
    """What DELETE /v1/keys/{id}/files has done."""

    deleted: int = Field(description="Files and unfinished uploads that this call let go.")
    cursor: str | None = Field(description="For the next call; null at the end.")


class KeyView(BaseModel):
    """A key, without its secret."""

    id: str
    name: str
    scope: Scope
    state: Literal["valid", "expired", "revoked"]
    created_at: datetime
    expires_at: datetime | None
    models: list[str]
    environments: list[str]
    limits: KeyLimits

    @classmethod
    def of(cls, key: ApiKey) -> "KeyView":
        """The key as it is shown."""
        return cls(**_fields(key))


class KeyUseView(KeyView):
    """A key and its use."""

    unfinished_requests: int = Field(description="Its requests that are queued or running.")
    kept_requests: int = Field(description="All of its requests that are not forgotten yet.")


class NewKeyView(KeyView):
    """A key that has just been made."""

    key: str = Field(description="The key itself. It is shown this once.")


class KeysView(BaseModel):
    """Every key, oldest first."""

    keys: list[KeyUseView]


@own.get("/v1/key", response_model=KeyView)
async def own_key(request: Request) -> KeyView:
    """The key of this call: what it may do, and until when. Every valid key may ask."""
    return KeyView.of(await authenticate(request, None))


@router.get("", response_model=KeysView)
async def listed(request: Request, _: Admin) -> KeysView:
    """Every key with its limits and its use, oldest first; also those that are revoked or have expired."""
    return KeysView(keys=[_use(use) for use in await gateway_of(request).store.run(keys.known())])


@router.post("", status_code=201, response_model=NewKeyView)
async def create(
    request: Request, change: Annotated[Change, audits("key.create", "admin")]
) -> NewKeyView:
    """Makes a key. The answer is the only place where it is ever shown."""
    asked = bodies.parse(TypeAdapter(NewKeyBody), await bodies.read(request, SMALL_BODY))
    plain, days = keys.fresh(), asked.expires_in_days
    call = keys.create(
        plain,
        asked.name,
        asked.scope,
        asked.models,
        asked.environments,
        None if days is None else days * 86_400,
        Limits(**asked.limits.model_dump()),
    )
    key = await gateway_of(request).store.run(call)
    change.target = f"{key.id} {key.scope} {key.name}".rstrip()
    return NewKeyView(**_fields(key), key=plain)


@router.patch("/{key_id}", response_model=KeyView)
async def limit(
    request: Request, key_id: str, change: Annotated[Change, audits("key.limit", "admin")]
) -> KeyView:
    """Changes the limits that the body names; null means the limit of the settings. They hold everywhere within two seconds."""
    asked = bodies.parse(TypeAdapter(KeyChangeBody), await bodies.read(request, SMALL_BODY))
    changes = asked.limits.model_dump(exclude_unset=True)
    change.target = f"{change.target} {said(changes)}".rstrip()
    try:
        return KeyView.of(await gateway_of(request).store.run(keys.limit(key_id, changes)))
    except NotFound as error:
        raise Problem(404, "client_error", str(error)) from None


@router.delete("/{key_id}", response_model=KeyView)
async def revoke(
    request: Request, key_id: str, _: Annotated[Change, audits("key.revoke", "admin")]
) -> KeyView:
    """Revokes a key for good. It stops working everywhere within two seconds. Its requests stay."""
    try:
        return KeyView.of(await gateway_of(request).store.run(keys.revoke(key_id)))
    except NotFound as error:
        raise Problem(404, "client_error", str(error)) from None


@router.delete("/{key_id}/files", response_model=DeletedFilesView)
async def delete_files(
    request: Request,
    key_id: str,
    change: Annotated[Change, audits("key.delete_files", "admin")],
    cursor: Annotated[str, Query(pattern=r"^[0-9]{1,20}$")] = "0",
) -> DeletedFilesView:
    """Deletes what a key has uploaded, and the output files of its sync calls. A file that a request uses stays until that one is deleted.

    Unfinished uploads go, too, those of packages as well. A package that is complete belongs to its deployments.
    """
    gateway, deleted, ends = gateway_of(request), 0, monotonic() + SECONDS
    if await gateway.store.run(keys.find(key_id)) is None:
        raise Problem(404, "client_error", f"There is no API key with the id {key_id}.")
    while True:
        step = await gateway.files.end_some(key_id, cursor)
        await _give_up(gateway, key_id, step)
        unfinished = (step.uploads, step.packages, step.transfers)
        cursor, deleted = step.cursor, deleted + step.ended + sum(map(len, unfinished))
        if cursor == "0" or monotonic() > ends:
            change.target = f"{change.target} {deleted} files"
            return DeletedFilesView(deleted=deleted, cursor=None if cursor == "0" else cursor)


async def _give_up(gateway: Gateway, key_id: str, step: EndedFiles) -> None:
    """Drops the unfinished uploads of packages that a step has found."""
    for upload_id in step.packages:
        with contextlib.suppress(NotFound):  # it has just ended
            await gateway.uploads.give_up(key_id, upload_id)
    for transfer_id in step.transfers:
        with contextlib.suppress(NotFound):
            await gateway.transfers.give_up(transfer_id)


def _use(use: KeyUse) -> KeyUseView:
    return KeyUseView(
        **_fields(use.key), unfinished_requests=use.unfinished, kept_requests=use.requests
    )


def _fields(key: ApiKey) -> dict[str, Any]:
    expired = key.expires is not None and key.expires < time()
    return {
        "id": key.id,
        "name": key.name,
        "scope": key.scope,
        "state": "revoked" if key.revoked else "expired" if expired else "valid",
        "created_at": datetime.fromtimestamp(key.created, UTC),
        "expires_at": None if key.expires is None else datetime.fromtimestamp(key.expires, UTC),
        "models": list(key.models),
        "environments": list(key.environments),
        "limits": vars(key.limits),
    }

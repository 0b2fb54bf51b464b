"""What every route shares: the store, the registry, the live replicas, and who is calling."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar, cast
from uuid import uuid4

from fastapi import Depends, Request
from starlette.requests import HTTPConnection

from api.addressing import Addressed
from api.events import EventHub
from api.problems import Problem, unauthorized
from api.upstream import Upstreams
from deployments.directory import AsyncDirectory
from deployments.management import Management
from deployments.registry import Deployment
from deployments.resolver import Resolver, Target
from tasks.api_keys import ApiKey, KeyCheck
from tasks.payloads import Payloads
from tasks.settings import Settings
from tasks.store import AsyncJobStore, unavailable

T = TypeVar("T")
Need = Literal["inference", "full", "metrics"]
SCHEMES = ("bearer", "api-key")


@dataclass(frozen=True)
class Gateway:
    """The parts of one API process."""

    settings: Settings
    store: AsyncJobStore
    registry: Resolver
    directory: AsyncDirectory
    keys: KeyCheck
    hub: EventHub
    upstreams: Upstreams
    payloads: Payloads
    management: Management

    @classmethod
    def create(cls, settings: Settings) -> "Gateway":
        """All parts for these settings; nothing connects yet."""
        store = AsyncJobStore(settings)
        directory = AsyncDirectory(settings)
        return cls(
            settings=settings,
            store=store,
            registry=Resolver(settings),
            directory=directory,
            keys=KeyCheck(settings),
            hub=EventHub(settings),
            upstreams=Upstreams(directory),
            payloads=Payloads(settings),
            management=Management(settings),
        )

    async def manage(self, step: Callable[[Management], T]) -> T:
        """Runs a step of the management in a thread. Raises StoreUnavailable after the deadline of a store call."""
        with unavailable():
            async with asyncio.timeout(self.settings.store_timeout_seconds):
                return await asyncio.to_thread(step, self.management)

    async def close(self) -> None:
        """Gives every connection back."""
        self.upstreams.close()
        self.management.close()
        for part in (self.hub, self.store, self.registry, self.directory, self.keys):
            await part.close()


def gateway_of(connection: HTTPConnection) -> Gateway:
    """The gateway that this request came to."""
    return cast(Gateway, connection.app.state.gateway)


def addressed_of(connection: HTTPConnection) -> Addressed:
    """What the request's address said."""
    return cast(Addressed, connection.scope["state"]["addressed"])


async def authenticate(connection: HTTPConnection, need: Need = "inference") -> ApiKey:
    """The caller's key. Raises Problem 401, or 403 for a key that may not do this."""
    scheme, space, plain = connection.headers.get("authorization", "").partition(" ")
    if not space or scheme.lower() not in SCHEMES:
        raise unauthorized()
    key = await gateway_of(connection).keys.check(plain.strip())
    if key is None:
        raise unauthorized()
    if key.scope not in (need, "full"):
        message = f"This key has the scope {key.scope}; this call needs {need}."
        raise Problem(403, "unauthorized", message)
    return key


async def caller_of(request: Request) -> ApiKey:
    """`authenticate` as a dependency: it comes before any complaint about other parameters."""
    return await authenticate(request)


Caller = Annotated[ApiKey, Depends(caller_of)]


async def deployment_for(connection: HTTPConnection, key: ApiKey, target: Target) -> Deployment:
    """The deployment that the request is for. Raises NotFound, or Problem 403 for a restricted key."""
    addressed = addressed_of(connection)
    deployment = await gateway_of(connection).registry.resolve(addressed.reference, target)
    allowed = not key.models or {deployment.model_id, deployment.model_name} & set(key.models)
    environment = target.environment
    if not allowed or (key.environments and environment not in key.environments):
        raise Problem(
            403, "unauthorized", "This key is restricted to other models or environments."
        )
    return deployment


def new_request_id() -> str:
    """32 lowercase hex characters, 122 of their bits random."""
    return uuid4().hex

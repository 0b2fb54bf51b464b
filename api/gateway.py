"""The parts that every route shares: the store, the registry, the live replicas and the check of keys."""

import contextlib
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass
from typing import Annotated, cast
from uuid import uuid4

from fastapi import Depends, Request
from starlette.requests import HTTPConnection

from api.addressing import Addressed
from api.epoch import Epoch
from api.events import EventHub
from api.problems import Problem, unauthorized
from api.server.connections import Connection
from api.upstream.hosts import Upstreams
from deployments.chain_deploying import ChainDeploying
from deployments.packages.contents import PackageReader
from deployments.packages.deploying import Deploying
from deployments.packages.patching import Patching
from deployments.packages.transfers import Transfers
from deployments.packages.uploads import Uploads
from deployments.registry.directory import Directory
from deployments.registry.management import Management
from deployments.registry.records import Deployment
from deployments.registry.removal import Removal
from deployments.registry.resolver import Resolver, Target
from deployments.registry.verbs import SCRIPTS as REGISTRY
from tasks.access import keys
from tasks.access.keys import KeyCheck
from tasks.access.library import ACCESS
from tasks.api_keys import GRANTS, ApiKey, Need, key_id
from tasks.batches.verbs import BATCHES
from tasks.errors import NotFound
from tasks.files.files import FileUploads
from tasks.files.verbs import FILES
from tasks.log_store.library import LOGS
from tasks.payloads import Payloads
from tasks.settings import Settings
from tasks.steering.verbs import SCRIPTS as STEERING
from tasks.store.hour import History
from tasks.store.job_store import AsyncJobStore
from tasks.store.scripting import JOBS

# In the scope's state: the API key of a login to the console, which was checked before.
SESSION_KEY = "session_key"
SESSION_HOLDS = "session_holds"  # an async function without arguments
SCHEMES = ("bearer", "api-key")
RESTRICTED = "This key is restricted to other models or environments."
MAY_NOT_MANAGE = "A key that is restricted to models or environments may not manage anything."


@dataclass
class Viewers:
    """The number of open streams of log lines."""

    count: int = 0

    @contextlib.contextmanager
    def counted(self) -> Generator[None]:
        """Counts a stream while it is open."""
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1


@dataclass(frozen=True)
class Gateway:
    """The parts of one API process."""

    settings: Settings
    store: AsyncJobStore
    epoch: Epoch
    resolver: Resolver
    directory: Directory
    keys: KeyCheck
    hub: EventHub
    upstreams: Upstreams
    payloads: Payloads
    management: Management
    uploads: Uploads
    packages: PackageReader
    transfers: Transfers
    patching: Patching
    files: FileUploads
    deploying: Deploying
    chains: ChainDeploying
    removal: Removal
    history: History
    log_viewers: Viewers
    listening: Counter[str]  # streams and tests of webhooks that are open, by key
    chain_key_id: str  # of the key with which chainlets call each other; '' = not known here

    @classmethod
    def create(cls, settings: Settings) -> "Gateway":
        """All parts for these settings. They connect later."""
        store = AsyncJobStore(settings)
        store.prepare(
            JOBS, REGISTRY, STEERING, ACCESS, LOGS, FILES, BATCHES
        )  # not when the first call comes
        directory, chain_key = Directory(store), settings.chain_api_key
        uploads = Uploads(store, settings)
        transfers = Transfers(store, uploads, settings)
        deploying, patching = Deploying(store, uploads, settings), Patching(transfers, settings)
        return cls(
            settings=settings,
            store=store,
            epoch=Epoch(store),
            resolver=Resolver(store),
            directory=directory,
            keys=KeyCheck(store, settings),
            hub=EventHub(settings),
            upstreams=Upstreams(directory),
            payloads=Payloads(settings),
            management=Management(store),
            uploads=uploads,
            packages=PackageReader(settings),
            transfers=transfers,
            files=FileUploads(store, settings),
            patching=patching,
            deploying=deploying,
            chains=ChainDeploying(store, deploying, patching, settings),
            removal=Removal(store),
            history=History(store),
            log_viewers=Viewers(),
            listening=Counter(),
            chain_key_id=key_id(chain_key.get_secret_value()) if chain_key else "",
        )

    async def install_key(self) -> None:
        """Makes the operator's key valid again in a store that has lost it. Raises StoreUnavailable."""
        if self.settings.api_key:
            plain = self.settings.api_key.get_secret_value()
            if await self.store.run(keys.find(key_id(plain))) is None:
                await self.store.run(keys.install(plain))

    async def close(self) -> None:
        """Closes every connection."""
        self.upstreams.close()
        for part in (self.hub, self.store):
            await part.close()


def gateway_of(connection: HTTPConnection) -> Gateway:
    """The gateway of this request."""
    return cast(Gateway, connection.app.state.gateway)


def addressed_of(connection: HTTPConnection) -> Addressed:
    """The model that the address of the request names."""
    return cast(Addressed, connection.scope["state"]["addressed"])


async def authenticate(connection: HTTPConnection, need: Need | None = "inference") -> ApiKey:
    """The caller's key; the need None is for every valid key. Raises Problem 401, or 403 for a key that may not do this."""
    key = cast("ApiKey | None", connection.scope["state"].get(SESSION_KEY))
    plain = "" if key else _key_of(connection)
    key = await gateway_of(connection).keys.check(plain) if plain else key
    if key is None:
        raise unauthorized()
    connection.scope["state"]["key_id"] = key.id
    if need and not key.may(need):
        message = f"This key has the scope {key.scope}; this call needs {need}."
        granted = need in GRANTS[key.scope]
        raise Problem(403, "unauthorized", MAY_NOT_MANAGE if granted else message)
    held = cast("Connection | None", connection.scope["state"].get("connection"))
    if held:  # an application that a test calls without our server has none
        held.show(key.id)
    return key


def _key_of(connection: HTTPConnection) -> str:
    """The key in the request's headers, on `/v1` routes also in `x-api-key`. '' if there is none."""
    scheme, _, plain = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() in SCHEMES:
        return plain.strip()
    path: str = connection.scope["path"]
    if path.startswith("/v1/") or "/sync/v1/" in path:
        return connection.headers.get("x-api-key", "").strip()
    return ""


async def caller_of(request: Request) -> ApiKey:
    """`authenticate` as a dependency, so that it runs before other parameters are checked."""
    return await authenticate(request)


async def admin_of(request: Request) -> ApiKey:
    """The same for a route of the scope `admin`."""
    return await authenticate(request, "admin")


Caller = Annotated[ApiKey, Depends(caller_of)]
Admin = Annotated[ApiKey, Depends(admin_of)]


def owner_for(key: ApiKey) -> str:
    """Whose jobs a key reads and steers: '' = everybody's, for the scope admin; else its own."""
    return "" if key.may("admin") else key.id


async def deployment_for(connection: HTTPConnection, key: ApiKey, target: Target) -> Deployment:
    """The deployment that the request is for. Raises NotFound, or Problem 403 for a restricted key."""
    reference = addressed_of(connection).reference
    try:
        deployment = await gateway_of(connection).resolver.resolve(reference, target)
    except NotFound as error:
        raise _not_found(error, key, reference) from None
    allowed = not key.models or {deployment.model_id, deployment.model_name} & set(key.models)
    environment = target.environment
    if not allowed or (key.environments and environment not in key.environments):
        raise Problem(403, "unauthorized", RESTRICTED)
    return deployment


def _not_found(error: NotFound, key: ApiKey, reference: str | None) -> Exception:
    """The error for a model that was not found. A restricted key does not learn whether other models exist."""
    if not key.models or reference in key.models:
        return error
    if reference is None:
        models = ", ".join(key.models)
        return NotFound(
            f"Name the model in the path: /models/NAME/... (this key may use: {models})."
        )
    return Problem(403, "unauthorized", RESTRICTED)


def new_request_id() -> str:
    """A request id: 32 lowercase hex characters with 122 random bits."""
    return uuid4().hex

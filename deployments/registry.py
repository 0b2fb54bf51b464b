"""Models, their deployments, and the environments that point at them."""

import secrets
import string
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import redis

from tasks.errors import NotFound
from tasks.keys import TAG
from tasks.settings import Settings
from tasks.store import connect, connect_async, unavailable

Kind = Literal["model", "chain", "chainlet"]

NAMES = f"{TAG}:models"  # hash name -> model id, of models and chains
CHAINLETS = f"{TAG}:chainlets"  # the same of chainlets, which only their chain knows by name
MODEL = f"{TAG}:model:"  # hash of one model: name, kind
ENVIRONMENTS = f"{TAG}:environments:"  # hash environment -> deployment id, of one model
DEPLOYMENTS = f"{TAG}:deployments"  # set of deployment ids
DEPLOYMENT = f"{TAG}:deployment:"  # hash of one deployment

# register: one model folder is one deployment that follows the folder; the same name keeps its ids.
REGISTER = """
local name, kind, slots, package, hash = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local model = redis.call('HGET', KEYS[1], name)
if not model then
  model = ARGV[6]
  redis.call('HSET', KEYS[1], name, model)
  redis.call('HSET', ARGV[8] .. model, 'name', name, 'kind', kind)
  redis.call('HSET', ARGV[9] .. model, 'production', ARGV[7], 'development', ARGV[7])
end
local deployment = redis.call('HGET', ARGV[9] .. model, 'production')
local t = redis.call('TIME')
redis.call('SADD', ARGV[10], deployment)
redis.call('HSETNX', ARGV[11] .. deployment, 'created', t[1] * 1000 + math.floor(t[2] / 1000))
redis.call('HSET', ARGV[11] .. deployment, 'model_id', model, 'model_name', name, 'kind', kind,
  'slots', slots, 'package', package, 'content_hash', hash)
return deployment
"""
CACHE_SECONDS = 1.0  # how late the API may notice a change
ALPHABET = string.ascii_lowercase + string.digits


@dataclass(frozen=True)
class Deployment:
    """One deployment of a model; `package` is a folder, `created` Unix milliseconds."""

    id: str
    model_id: str
    model_name: str
    kind: Kind
    slots: int
    package: str
    content_hash: str
    created: int


def new_id() -> str:
    """8 lowercase alphanumerics, as clients recognise a model id."""
    return "".join(secrets.choice(ALPHABET) for _ in range(8))


class Registry:
    """The registry for synchronous callers."""

    def __init__(self, settings: Settings) -> None:
        self._redis: redis.Redis = connect(settings)

    def register(
        self, name: str, package: str, content_hash: str, slots: int, kind: Kind = "model"
    ) -> Deployment:
        """Makes or updates the deployment that follows a model folder. Raises StoreUnavailable."""
        prefixes = [MODEL, ENVIRONMENTS, DEPLOYMENTS, DEPLOYMENT]
        arguments = [name, kind, slots, package, content_hash, new_id(), new_id(), *prefixes]
        names = CHAINLETS if kind == "chainlet" else NAMES
        with unavailable():
            deployment_id = cast(bytes, self._redis.eval(REGISTER, 1, names, *arguments))
        return self.deployment(deployment_id.decode())

    def deployment(self, deployment_id: str) -> Deployment:
        """The deployment of that id. Raises NotFound and StoreUnavailable."""
        with unavailable():
            fields = cast("dict[bytes, bytes]", self._redis.hgetall(DEPLOYMENT + deployment_id))
        return deployment_of(deployment_id, fields)

    def all(self) -> list[Deployment]:
        """Every deployment, oldest first. Raises StoreUnavailable."""
        with unavailable():
            ids = cast("set[bytes]", self._redis.smembers(DEPLOYMENTS))
        found = [self.deployment(one.decode()) for one in ids]
        return sorted(found, key=lambda one: (one.created, one.id))


def deployment_of(deployment_id: str, fields: dict[bytes, bytes]) -> Deployment:
    """The deployment of a HGETALL reply. Raises NotFound for an empty one."""
    if not fields:
        raise NotFound(f"There is no deployment {deployment_id}.")
    f: dict[str, Any] = {name.decode(): value.decode() for name, value in fields.items()}
    f["slots"], f["created"] = int(f["slots"]), int(f["created"])
    return Deployment(id=deployment_id, **f)


@dataclass(frozen=True)
class Target:
    """Which deployment of a model a path means: an environment, or a deployment by its id."""

    environment: str | None = "production"
    deployment_id: str | None = None


class AsyncRegistry:
    """The registry for the API; remembers what it read for `CACHE_SECONDS`."""

    def __init__(self, settings: Settings, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._redis = connect_async(settings)
        self._monotonic = monotonic
        self._cache: dict[tuple[str | None, Target], tuple[float, Deployment]] = {}

    async def resolve(self, reference: str | None, target: Target) -> Deployment:
        """The deployment that a request is for; `reference` is a model's id or name, None the only model.

        Raises NotFound with a sentence for people, and StoreUnavailable.
        """
        until, found = self._cache.get((reference, target), (0.0, None))
        if found and self._monotonic() < until:
            return found
        with unavailable():
            found = await self._resolve(reference, target)
        if len(self._cache) > 1000:
            self._cache.clear()
        self._cache[reference, target] = (self._monotonic() + CACHE_SECONDS, found)
        return found

    async def models(self) -> dict[str, str]:
        """Name -> id of every model. Raises StoreUnavailable."""
        with unavailable():
            return await self._names()

    async def all(self) -> list[Deployment]:
        """Every deployment, by id. Raises StoreUnavailable."""
        with unavailable():
            ids = cast("set[bytes]", await self._redis.smembers(DEPLOYMENTS))  # type: ignore[misc]
            pipe = self._redis.pipeline(transaction=False)
            names = sorted(one.decode() for one in ids)
            for name in names:
                pipe.hgetall(DEPLOYMENT + name)
            rows = await pipe.execute()
        return [deployment_of(name, row) for name, row in zip(names, rows, strict=True)]

    async def _names(self, key: str = NAMES) -> dict[str, str]:
        raw = cast("dict[bytes, bytes]", await self._redis.hgetall(key))  # type: ignore[misc]
        return {name.decode(): model_id.decode() for name, model_id in raw.items()}

    async def _resolve(self, reference: str | None, target: Target) -> Deployment:
        model_id = await self._model_id(reference)
        deployment_id = target.deployment_id
        if deployment_id is None:
            key = ENVIRONMENTS + model_id
            raw = cast("bytes | None", await self._redis.hget(key, target.environment or ""))  # type: ignore[misc]
            if raw is None:
                raise NotFound(f"This model has no environment {target.environment!r}.")
            deployment_id = raw.decode()
        fields = cast(
            "dict[bytes, bytes]",
            await self._redis.hgetall(DEPLOYMENT + deployment_id),  # type: ignore[misc]
        )
        deployment = deployment_of(deployment_id, fields)
        if deployment.model_id != model_id:
            raise NotFound(f"This model has no deployment {deployment_id}.")
        return deployment

    async def _model_id(self, reference: str | None) -> str:
        names = await self._names()
        if reference is None:
            if len(names) != 1:
                known = ", ".join(sorted(names)) or "none"
                raise NotFound(f"Say which model: /models/NAME/... (deployed: {known}).")
            return next(iter(names.values()))
        for known in (names, await self._names(CHAINLETS)):
            if reference in known.values():
                return reference
            if reference in known:
                return known[reference]
        raise NotFound(f"There is no model {reference!r}.")

    async def close(self) -> None:
        """Gives the connections back."""
        await self._redis.aclose()

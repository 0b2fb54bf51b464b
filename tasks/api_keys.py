"""API keys: `kp_<id>.<secret>`. A key is shown once and stored as SHA-256, which is enough for a random secret."""

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast, get_args

import redis

from tasks.errors import KeyRefused, NotFound, SettingsError
from tasks.process.logs import get_logger
from tasks.process.remembered import Remembered
from tasks.settings import Settings
from tasks.store.job_store import connect, connect_async, unavailable
from tasks.store.keys import TAG
from tasks.store.keys import plain as plain_key

log = get_logger("keys")

Scope = Literal["full", "inference", "metrics", "deploy", "admin"]
Need = Literal["inference", "metrics", "deploy", "full", "admin"]  # of a route

SCOPES: tuple[Scope, ...] = get_args(Scope)
# Which scope grants which need: all who may do what.
GRANTS: dict[Scope, frozenset[Need]] = {
    "inference": frozenset({"inference"}),
    "metrics": frozenset({"metrics"}),
    "deploy": frozenset({"deploy", "inference"}),
    "full": frozenset({"inference", "metrics", "deploy", "full"}),
    "admin": frozenset(get_args(Need)),
}
# What a key may do that is restricted to models or environments.
RESTRICTED: frozenset[Need] = frozenset({"inference", "metrics"})

KEYS = f"{TAG}:api-keys"  # hash key id -> JSON of ApiKey
RUNNING_LIMITS = plain_key("running_limits")
PREFIX = "kp_"
SHORTEST_PRESET = 16  # characters
CACHE_SECONDS = 2.0  # how late an API process may notice a revoke
MOST_KNOWN = 10_000


@dataclass(frozen=True)
class Limits:
    """The limits of a key. None means the limit of the settings, 0 means no limit."""

    submits_per_minute: int | None = None
    status_calls_per_minute: int | None = None
    queue_status_calls_per_minute: int | None = None
    max_unfinished: int | None = None  # requests that are queued or running
    max_running: int | None = None  # of these, at once on one deployment

    def over(self, settings: Settings) -> "Limits":
        """These limits, with those of the settings where the key has none of its own."""
        defaults = Limits(
            settings.submits_per_minute,
            settings.status_calls_per_minute,
            settings.queue_status_calls_per_minute,
            settings.max_unfinished_per_key,
            settings.max_running_per_key,
        )
        return replace(defaults, **{k: v for k, v in vars(self).items() if v is not None})


@dataclass(frozen=True)
class ApiKey:
    """One key as it is stored. Empty `models` or `environments` mean all. Times are Unix seconds."""

    id: str
    sha256: str
    name: str
    scope: Scope
    created: float
    models: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    expires: float | None = None
    revoked: bool = False
    limits: Limits = Limits()

    @property
    def restricted(self) -> bool:
        """Whether it is restricted to models or environments."""
        return bool(self.models or self.environments)

    def may(self, need: Need) -> bool:
        """Whether it may call a route with this need."""
        return need in GRANTS[self.scope] and (not self.restricted or need in RESTRICTED)


NO_LIMITS = Limits()


def sees_model_errors(settings: Settings, scope: Scope | None) -> bool:
    """Whether a key with this scope may read the exceptions of models."""
    if settings.model_errors == "owner":
        return scope is not None and "deploy" in GRANTS[scope]  # who may deploy models
    return settings.model_errors == "all"


def check_restrictions(
    scope: Scope, models: tuple[str, ...], environments: tuple[str, ...]
) -> None:
    """Raises KeyRefused for a key whose scope is about all models, and which is restricted to some."""
    if scope in ("deploy", "admin") and (models or environments):
        raise KeyRefused(
            f"A key with the scope {scope} may manage every model: create it without models and environments, "
            "or choose the scope inference."
        )


def key_id(plain: str) -> str:
    """The id under which a key is stored. A key of ours contains it; for a preset key it is derived from the hash."""
    head, dot, _ = plain.removeprefix(PREFIX).partition(".")
    if plain.startswith(PREFIX) and dot and len(head) == 8:
        return head
    return hashlib.sha256(b"id:" + plain.encode()).hexdigest()[:8]


def _sha256(plain: str) -> str:
    return hashlib.sha256(plain.encode()).hexdigest()


def _parse(raw: bytes) -> ApiKey:
    fields = json.loads(raw)
    fields |= {name: tuple(fields[name]) for name in ("models", "environments")}
    return ApiKey(**fields | {"limits": Limits(**fields.get("limits", {}))})


class ApiKeys:
    """Creates, lists and revokes keys, for the command line."""

    def __init__(self, settings: Settings) -> None:
        self._redis: redis.Redis = connect(settings)

    def create(
        self,
        name: str = "",
        scope: Scope = "full",
        models: tuple[str, ...] = (),
        environments: tuple[str, ...] = (),
        expires_in_seconds: float | None = None,
        limits: Limits = NO_LIMITS,
    ) -> str:
        """Creates a key and returns it in plain text. It cannot be read again. Raises KeyRefused and StoreUnavailable."""
        check_restrictions(scope, models, environments)
        plain = f"{PREFIX}{secrets.token_hex(4)}.{secrets.token_urlsafe(32)}"
        expires = None if expires_in_seconds is None else time.time() + expires_in_seconds
        self._write(
            plain,
            name,
            scope,
            models=models,
            environments=environments,
            expires=expires,
            limits=limits,
        )
        return plain

    def install(self, plain: str, name: str = "preset", scope: Scope = "full") -> bool:
        """Accepts a key that the operator chose, or one that was made earlier. False for a revoked key, which stays revoked.

        Raises SettingsError and StoreUnavailable.
        """
        if len(plain) < SHORTEST_PRESET:
            raise SettingsError(
                f"KINGPOST_API_KEY must have at least {SHORTEST_PRESET} characters."
            )
        with unavailable():
            raw = cast("bytes | None", self._redis.hget(KEYS, key_id(plain)))
        if raw and (earlier := _parse(raw)).revoked and earlier.sha256 == _sha256(plain):
            log.warning("key.revoked", key=earlier.id, told="it stays revoked; choose a new one")
            return False
        self._write(plain, name, scope)
        return True

    def list(self) -> list[ApiKey]:
        """All keys, oldest first. Raises StoreUnavailable."""
        with unavailable():
            raw = cast("dict[bytes, bytes]", self._redis.hgetall(KEYS))
        return sorted(map(_parse, raw.values()), key=lambda key: key.created)

    def revoke(self, key: str) -> None:
        """Revokes the key with this id for good. Raises NotFound and StoreUnavailable."""
        with unavailable():
            raw = cast("bytes | None", self._redis.hget(KEYS, key))
            if raw is None:
                raise NotFound(f"There is no API key with the id {key}.")
            fields = json.loads(raw) | {"revoked": True}
            self._redis.hset(KEYS, key, json.dumps(fields))

    def _write(self, plain: str, name: str, scope: Scope, **more: Any) -> None:
        identity = key_id(plain)
        key = ApiKey(identity, _sha256(plain), name, scope, time.time(), **more)
        with unavailable():
            self._redis.hset(KEYS, identity, json.dumps(asdict(key)))
            if key.limits.max_running is not None:  # where the claim script looks
                self._redis.hset(RUNNING_LIMITS, identity, key.limits.max_running)


class KeyCheck:
    """Checks keys for the API. It remembers each result for `CACHE_SECONDS`."""

    def __init__(self, settings: Settings, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._redis = connect_async(settings)
        self._settings = settings
        self._known = Remembered(self._look_up, CACHE_SECONDS, MOST_KNOWN, monotonic)

    async def check(self, plain: str) -> ApiKey | None:
        """The key with its limits, if it is known, not expired and not revoked, else None.

        Raises StoreUnavailable.
        """
        key = await self._known.get(key_id(plain))
        # Compare against something in any case: an unknown id must not answer sooner.
        same = hmac.compare_digest(_sha256(plain), key.sha256 if key else _sha256(""))
        if key is None or not same or key.revoked:
            return None
        return None if key.expires is not None and key.expires < time.time() else key

    async def _look_up(self, identity: str) -> ApiKey | None:
        with unavailable():
            raw = cast("bytes | None", await self._redis.hget(KEYS, identity))  # type: ignore[misc]
        if raw is None:
            return None
        key = _parse(raw)
        return replace(key, limits=key.limits.over(self._settings))

    async def scope_of(self, identity: str) -> Scope | None:
        """The scope of the key with this id, None if it is unknown or revoked. Raises StoreUnavailable."""
        key = await self._known.get(identity)
        return None if key is None or key.revoked else key.scope

    async def close(self) -> None:
        """Closes the connections."""
        await self._redis.aclose()

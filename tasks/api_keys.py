"""API keys: `kp_<id>.<secret>`, shown once, stored as SHA-256 (right for a secret of full entropy)."""

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal, cast

import redis

from tasks.errors import NotFound, SettingsError
from tasks.keys import TAG
from tasks.settings import Settings
from tasks.store import connect, connect_async, unavailable

Scope = Literal["full", "inference", "metrics"]

KEYS = f"{TAG}:api-keys"  # hash key id -> JSON of ApiKey
PREFIX = "kp_"
SHORTEST_PRESET = 16  # characters
CACHE_SECONDS = 2.0  # how late an API process may notice a revoke


@dataclass(frozen=True)
class ApiKey:
    """One key as it is stored; empty `models` or `environments` = all; times in Unix seconds."""

    id: str
    sha256: str
    name: str
    scope: Scope
    created: float
    models: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    expires: float | None = None
    revoked: bool = False


def key_id(plain: str) -> str:
    """The id under which a key is stored: in ours it is written, of a preset it is derived."""
    head, dot, _ = plain.removeprefix(PREFIX).partition(".")
    if plain.startswith(PREFIX) and dot and len(head) == 8:
        return head
    return hashlib.sha256(b"id:" + plain.encode()).hexdigest()[:8]


def _sha256(plain: str) -> str:
    return hashlib.sha256(plain.encode()).hexdigest()


def _parse(raw: bytes) -> ApiKey:
    fields = json.loads(raw)
    return ApiKey(**fields | {n: tuple(fields[n]) for n in ("models", "environments")})


class ApiKeys:
    """The keys for the command line: create, list, revoke."""

    def __init__(self, settings: Settings) -> None:
        self._redis: redis.Redis = connect(settings)

    def create(
        self,
        name: str = "",
        scope: Scope = "full",
        models: tuple[str, ...] = (),
        environments: tuple[str, ...] = (),
        expires_in_seconds: float | None = None,
    ) -> str:
        """Makes a key and answers it in plain text, once. Raises StoreUnavailable."""
        plain = f"{PREFIX}{secrets.token_hex(4)}.{secrets.token_urlsafe(32)}"
        expires = None if expires_in_seconds is None else time.time() + expires_in_seconds
        self._write(plain, name, scope, models, environments, expires)
        return plain

    def install(self, plain: str, name: str = "preset", scope: Scope = "full") -> None:
        """Accepts a key that the operator chose, or one that was made earlier. Raises SettingsError and StoreUnavailable."""
        if len(plain) < SHORTEST_PRESET:
            raise SettingsError(
                f"KINGPOST_API_KEY must have at least {SHORTEST_PRESET} characters."
            )
        self._write(plain, name, scope, (), (), None)

    def list(self) -> list[ApiKey]:
        """All keys, oldest first. Raises StoreUnavailable."""
        with unavailable():
            raw = cast("dict[bytes, bytes]", self._redis.hgetall(KEYS))
        return sorted(map(_parse, raw.values()), key=lambda key: key.created)

    def revoke(self, key: str) -> None:
        """Ends a key by its id for good. Raises NotFound and StoreUnavailable."""
        with unavailable():
            raw = cast("bytes | None", self._redis.hget(KEYS, key))
            if raw is None:
                raise NotFound(f"There is no API key with the id {key}.")
            fields = json.loads(raw) | {"revoked": True}
            self._redis.hset(KEYS, key, json.dumps(fields))

    def _write(
        self,
        plain: str,
        name: str,
        scope: Scope,
        models: tuple[str, ...],
        environments: tuple[str, ...],
        expires: float | None,
    ) -> None:
        identity = key_id(plain)
        key = ApiKey(
            identity, _sha256(plain), name, scope, time.time(), models, environments, expires
        )
        with unavailable():
            self._redis.hset(KEYS, identity, json.dumps(asdict(key)))


class KeyCheck:
    """Checks keys for the API; remembers each for `CACHE_SECONDS`."""

    def __init__(self, settings: Settings, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._redis = connect_async(settings)
        self._monotonic = monotonic
        self._cache: dict[str, tuple[float, ApiKey | None]] = {}

    async def check(self, plain: str) -> ApiKey | None:
        """The key when it is known, unexpired and unrevoked. Raises StoreUnavailable."""
        key = await self._look_up(key_id(plain))
        # Compare against something in any case: an unknown id must not answer sooner.
        same = hmac.compare_digest(_sha256(plain), key.sha256 if key else _sha256(""))
        if key is None or not same or key.revoked:
            return None
        return None if key.expires is not None and key.expires < time.time() else key

    async def _look_up(self, identity: str) -> ApiKey | None:
        until, key = self._cache.get(identity, (0.0, None))
        if self._monotonic() < until:
            return key
        with unavailable():
            raw = cast("bytes | None", await self._redis.hget(KEYS, identity))  # type: ignore[misc]
        key = _parse(raw) if raw else None
        if len(self._cache) > 10_000:
            self._cache.clear()  # strangers' guesses must not fill the memory
        self._cache[identity] = (self._monotonic() + CACHE_SECONDS, key)
        return key

    async def close(self) -> None:
        """Gives the connections back."""
        await self._redis.aclose()

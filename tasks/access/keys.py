"""The verbs of API keys, and the check of a key, which remembers what it has read."""

import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeVar, cast

from tasks.access.library import ACCESS
from tasks.api_keys import (
    NO_LIMITS,
    PREFIX,
    SHORTEST_PRESET,
    ApiKey,
    Limits,
    Scope,
    check_expiry,
    check_restrictions,
    key_id,
    parse,
    sha256,
)
from tasks.errors import KeyRefused, NotFound, SettingsError
from tasks.outside_text import utf8
from tasks.process.remembered import Remembered
from tasks.settings import Settings
from tasks.store.job_store import AsyncJobStore
from tasks.store.records import Reply, items, number, text
from tasks.store.verbs import Argument, ScriptCall

T = TypeVar("T")

CACHE_SECONDS = 2.0  # how late an API process may notice a revoke
MOST_KNOWN = 10_000  # ids in the cache, those of unknown keys too


@dataclass(frozen=True)
class KeyUse:
    """A key, the number of its requests that are not final, and of all that are kept."""

    key: ApiKey
    unfinished: int
    requests: int


def fresh() -> str:
    """A new key in plain text, for `create`."""
    return f"{PREFIX}{secrets.token_hex(4)}.{secrets.token_urlsafe(32)}"


def create(
    plain: str,
    name: str = "",
    scope: Scope = "full",
    models: Sequence[str] = (),
    environments: Sequence[str] = (),
    expires_in_seconds: float | None = None,
    limits: Limits = NO_LIMITS,
) -> ScriptCall[ApiKey]:
    """Stores a key that `fresh` made; its plain text cannot be read again. Raises KeyRefused, as does reading the reply."""
    check_restrictions(scope, models, environments)
    check_expiry(expires_in_seconds)
    now = _now()
    key = ApiKey(
        key_id(plain),
        sha256(plain),
        utf8(name),
        scope,
        now,
        tuple(map(utf8, models)),
        tuple(map(utf8, environments)),
        None if expires_in_seconds is None else round(now + expires_in_seconds, 3),
        limits=limits,
    )

    def read(reply: Reply) -> ApiKey:
        _stored(key, reply)
        return key

    return _put(key, read)


def install(plain: str, name: str = "preset", scope: Scope = "full") -> ScriptCall[bool]:
    """Accepts a key that the operator chose, or one that was made earlier. The reply is false for a revoked key, which stays revoked.

    Raises SettingsError. Reading the reply raises KeyRefused.
    """
    if len(plain) < SHORTEST_PRESET:
        raise SettingsError(f"KINGPOST_API_KEY must have at least {SHORTEST_PRESET} characters.")
    key = ApiKey(key_id(plain), sha256(plain), name, scope, _now())
    return _put(key, lambda reply: _stored(key, reply))


def known() -> ScriptCall[list[KeyUse]]:
    """All keys, oldest first."""

    def read(reply: Reply) -> list[KeyUse]:
        found = [_use(items(row)) for row in items(reply)]
        return sorted(found, key=lambda use: use.key.created)

    return ScriptCall("api_keys", [], read, ACCESS)


def find(identity: str) -> ScriptCall[ApiKey | None]:
    """The key with that id, None if there is none."""

    def read(reply: Reply) -> ApiKey | None:
        return None if reply is None else parse(cast(bytes, reply))

    return ScriptCall("api_key", [utf8(identity)], read, ACCESS)


def revoke(identity: str) -> ScriptCall[ApiKey]:
    """Revokes the key with that id for good. Reading the reply raises NotFound."""

    def read(reply: Reply) -> ApiKey:
        if reply is None:
            raise _unknown(identity)
        return parse(cast(bytes, reply))

    return ScriptCall("revoke_key", [utf8(identity)], read, ACCESS)


def limit(identity: str, changes: Mapping[str, int | None]) -> ScriptCall[ApiKey]:
    """Changes limits of the key with that id, by the names of their fields in `Limits`. None means the limit of the settings; limits without a name here stay.

    Reading the reply raises NotFound, and KeyRefused for a revoked key.
    """
    Limits(**changes)  # no other names

    def read(reply: Reply) -> ApiKey:
        if reply is None:
            raise _unknown(identity)
        if reply == b"revoked":
            raise KeyRefused(f"The key {utf8(identity)} is revoked for good; create another key.")
        return parse(cast(bytes, reply))

    return ScriptCall("limit_key", [utf8(identity), json.dumps(dict(changes))], read, ACCESS)


def _unknown(identity: str) -> NotFound:
    return NotFound(f"There is no API key with the id {utf8(identity)}.")


def _now() -> float:
    """Unix seconds as exact as the scripts' JSON keeps them."""
    return round(time.time(), 3)


def _put(key: ApiKey, read: Callable[[Reply], T]) -> ScriptCall[T]:
    running = "" if key.limits.max_running is None else key.limits.max_running
    arguments: list[Argument] = [key.id, json.dumps(asdict(key)), key.sha256, running]
    return ScriptCall("put_key", arguments, read, ACCESS)


def _stored(key: ApiKey, reply: Reply) -> bool:
    if text(reply) == "taken":
        raise KeyRefused(f"Another API key has the id {key.id}; choose another key.")
    return text(reply) == "stored"


def _use(row: list[Reply]) -> KeyUse:
    raw, unfinished, requests = row
    return KeyUse(parse(cast(bytes, raw)), number(unfinished), number(requests))


def _is_valid(key: ApiKey) -> bool:
    return not key.revoked and (key.expires is None or key.expires >= time.time())


class KeyCheck:
    """Checks keys for the API. It remembers each result for `CACHE_SECONDS`."""

    def __init__(
        self,
        store: AsyncJobStore,
        settings: Settings,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._settings = store, settings
        self._known = Remembered(self._look_up, CACHE_SECONDS, MOST_KNOWN, monotonic)

    async def check(self, plain: str) -> ApiKey | None:
        """The key with its limits, if it is known, not expired and not revoked, else None.

        Raises StoreUnavailable.
        """
        key = await self._known.get(key_id(plain))
        # Compare against something in any case: an unknown id must not answer sooner.
        same = hmac.compare_digest(sha256(plain), key.sha256 if key else sha256(""))
        return key if key and same and _is_valid(key) else None

    async def of_id(self, identity: str) -> ApiKey | None:
        """The key with this id, without a check of its secret: for a session, or a transfer, that the key has opened. Raises StoreUnavailable."""
        key = await self._known.get(identity)
        return key if key and _is_valid(key) else None

    async def _look_up(self, identity: str) -> ApiKey | None:
        key = await self._store.run(find(identity))
        return None if key is None else replace(key, limits=key.limits.over(self._settings))

    async def scope_of(self, identity: str) -> Scope | None:
        """The scope of the key with this id, None if it is unknown or revoked. Raises StoreUnavailable."""
        key = await self._known.get(identity)
        return None if key is None or key.revoked else key.scope

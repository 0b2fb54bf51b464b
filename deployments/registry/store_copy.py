"""Copies API keys, webhook secrets and the registry, which clients need and nothing else could restore.

The copy is kept in a file beside the store, in case the store comes back without its data. It has no requests, because only the
store knows their states.
"""

from collections.abc import Iterable
from typing import Any, cast

import redis

from deployments.registry import keys as registry_keys
from tasks.api_keys import KEYS, RUNNING_LIMITS
from tasks.store import keys
from tasks.webhooks.secrets import KEY as WEBHOOK_SECRETS

Copy = dict[str, dict[str, Any]]  # key -> {the type in Redis: value}
MODELS = ("models", "chainlets")  # each a hash of names and ids
ALWAYS = (
    KEYS,
    WEBHOOK_SECRETS,
    RUNNING_LIMITS,
    keys.plain("paused"),
    registry_keys.plain("deployments"),
    registry_keys.plain("aliases"),
    *map(registry_keys.plain, MODELS),
)
OF_MODEL = ("model", "environments", "deployments_of")
OF_DEPLOYMENT = ("deployment", "chainlets_of")


def read(client: redis.Redis) -> Copy:
    """The copy of the store's current content."""
    copy = _values(client, ALWAYS)
    models = [i for name in MODELS for i in _hash(copy, registry_keys.plain(name)).values()]
    copy |= _values(client, [registry_keys.keyed(name, i) for i in models for name in OF_MODEL])
    environments = [
        f"{i}:{name}"
        for i in models
        for name in _hash(copy, registry_keys.keyed("environments", i))
    ]
    single = [registry_keys.keyed("environment", named) for named in environments]
    single += [registry_keys.keyed("alias", name) for name in _set(copy, "aliases")]
    for i in _set(copy, "deployments"):
        single += [registry_keys.keyed(name, i) for name in OF_DEPLOYMENT]
    return copy | _values(client, single)


def write(client: redis.Redis, copy: Copy) -> None:
    """Writes the whole copy into the store in one step. Other content of the store is not changed."""
    pipe = client.pipeline(transaction=True)
    for key, typed in copy.items():
        for kind, value in typed.items():
            match kind:
                case "string":
                    pipe.set(key, value)
                case "hash":
                    pipe.hset(key, mapping=value)
                case "set":
                    pipe.sadd(key, *value)
                case _:
                    pipe.zadd(key, value)
    pipe.execute()


def _values(client: redis.Redis, wanted: Iterable[str]) -> Copy:
    asked = list(wanted)
    kinds = client.pipeline(transaction=False)
    for key in asked:
        kinds.type(key)
    there = [
        (key, kind.decode())
        for key, kind in zip(asked, cast("list[bytes]", kinds.execute()), strict=True)
        if kind != b"none"
    ]
    values = client.pipeline(transaction=False)
    for key, kind in there:
        match kind:
            case "string":
                values.get(key)
            case "hash":
                values.hgetall(key)
            case "set":
                values.smembers(key)
            case _:
                values.zrange(key, 0, -1, withscores=True)
    pairs = zip(there, values.execute(), strict=True)
    return {key: {kind: _texts(value)} for (key, kind), value in pairs if value}


def _texts(value: Any) -> Any:
    """The value in types that JSON has. A set becomes a list, and a sorted set maps members to scores."""
    if isinstance(value, bytes):
        return value.decode(errors="surrogateescape")
    if isinstance(value, dict):
        return {_texts(k): _texts(v) for k, v in cast("dict[Any, Any]", value).items()}
    if isinstance(value, set):
        return sorted(_texts(member) for member in cast("set[bytes]", value))
    if isinstance(value, list):
        return {_texts(member): score for member, score in cast("list[Any]", value)}
    return value


def _hash(copy: Copy, key: str) -> dict[str, str]:
    return copy.get(key, {}).get("hash", {})


def _set(copy: Copy, name: str) -> list[str]:
    return copy.get(registry_keys.plain(name), {}).get("set", [])

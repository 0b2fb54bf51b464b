"""The live replicas: each reports itself, with an end of its own unless the heartbeat goes on."""

import json
from dataclasses import asdict, dataclass
from typing import Literal, cast

import redis

from tasks.keys import TAG
from tasks.settings import Settings
from tasks.store import connect, unavailable

ReplicaState = Literal["loading", "ready", "failed", "draining"]

IDS = f"{TAG}:replicas"  # set of replica ids; readers drop those whose entry has ended
CHANGES = f"{TAG}:replica-changes"  # pub/sub channel: a replica's id
ENTRY = f"{TAG}:replica:"


@dataclass(frozen=True)
class Replica:
    """One replica as it last reported itself; `address` is its model host's Unix socket."""

    id: str
    deployment_id: str
    model_name: str
    state: ReplicaState
    error: str | None
    address: str
    slots: int
    busy: int
    pid: int
    host_pid: int | None


class Directory:
    """The directory for synchronous callers."""

    def __init__(self, settings: Settings) -> None:
        self._redis: redis.Redis = connect(settings)
        self._ttl_ms = int(settings.heartbeat_seconds * 3000)
        self._last: Replica | None = None

    def report(self, replica: Replica) -> None:
        """Writes an entry that lives three heartbeats. Raises StoreUnavailable."""
        with unavailable():
            pipe = self._redis.pipeline(transaction=False)
            pipe.set(ENTRY + replica.id, json.dumps(asdict(replica)), px=self._ttl_ms)
            pipe.sadd(IDS, replica.id)
            if replica != self._last:
                pipe.publish(CHANGES, replica.id)
            pipe.execute()
        self._last = replica

    def remove(self, replica_id: str) -> None:
        """Takes an entry out. Raises StoreUnavailable."""
        with unavailable():
            self._redis.delete(ENTRY + replica_id)
            self._redis.srem(IDS, replica_id)
            self._redis.publish(CHANGES, replica_id)

    def all(self) -> list[Replica]:
        """Every replica that reported lately. Raises StoreUnavailable."""
        with unavailable():
            ids = sorted(one.decode() for one in cast("set[bytes]", self._redis.smembers(IDS)))
            if not ids:
                return []
            raw = cast("list[bytes | None]", self._redis.mget([ENTRY + one for one in ids]))
            ended = [one for one, entry in zip(ids, raw, strict=True) if entry is None]
            if ended:
                self._redis.srem(IDS, *ended)
        return [Replica(**json.loads(entry)) for entry in raw if entry]

"""The live replicas: each reports itself, with an end of its own unless the heartbeat goes on."""

import asyncio
import contextlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, cast

import redis

from deployments.host_address import HostAddress, is_here
from tasks.errors import StoreUnavailable
from tasks.process.logs import get_logger
from tasks.process.loops import Guard
from tasks.settings import Settings
from tasks.store.job_store import connect, connect_async, unavailable
from tasks.store.keys import TAG

log = get_logger("directory")

POLL_SECONDS = 1.0
ReplicaState = Literal["building", "loading", "ready", "failed", "draining"]

IDS = f"{TAG}:replicas"  # set of replica ids; readers drop those whose entry has ended
CHANGES = f"{TAG}:replica-changes"  # pub/sub channel: a replica's id
ENTRY = f"{TAG}:replica:"
TOKEN = f"{TAG}:host-token:"  # by reference: entries are shown and logged, tokens are not


@dataclass(frozen=True)
class Replica:
    """One replica as it last reported itself; `address` is its model host's Unix socket.

    The last line of `error` is its sentence; the lines before it are the frames or the installer's words.
    """

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
    served: int = 0  # sync calls since the host started
    note: str | None = None  # what it does meanwhile, such as the last line of an installer
    machine: str = ""  # where the Unix socket is
    tcp: str | None = None  # HOST:PORT of the host's gate for other machines
    token_ref: str | None = None  # of the token that the gate asks for


FIELDS = frozenset(field.name for field in fields(Replica))
_reading = Guard("replica's entry")


def _parsed(entries: Iterable[bytes | None]) -> list[Replica]:
    """Those that can be read; another release's replicas may say more or less than we know."""
    found: list[Replica] = []
    for entry in filter(None, entries):
        with _reading.part():
            said: dict[str, Any] = json.loads(entry)
            known = {name: value for name, value in said.items() if name in FIELDS}
            found.append(Replica(**known))
    return found


class Directory:
    """The directory for synchronous callers."""

    def __init__(self, settings: Settings) -> None:
        self._redis: redis.Redis = connect(settings)
        self._ttl_ms = int(settings.heartbeat_seconds * 3000)
        self._last: dict[str, Replica] = {}

    def report(self, replica: Replica, token: str = "") -> None:
        """Writes an entry, and its gate's token, that live three heartbeats. Raises StoreUnavailable."""
        with unavailable():
            pipe = self._redis.pipeline(transaction=False)
            pipe.set(ENTRY + replica.id, json.dumps(asdict(replica)), px=self._ttl_ms)
            if replica.token_ref:
                pipe.set(TOKEN + replica.token_ref, token, px=self._ttl_ms)
            pipe.sadd(IDS, replica.id)
            if replica != self._last.get(replica.id):
                pipe.publish(CHANGES, replica.id)
            pipe.execute()
        self._last[replica.id] = replica

    def remove(self, replica_id: str) -> None:
        """Takes an entry out. Raises StoreUnavailable."""
        with unavailable():
            self._redis.delete(ENTRY + replica_id)
            last = self._last.pop(replica_id, None)
            if last and last.token_ref:
                self._redis.delete(TOKEN + last.token_ref)
            self._redis.srem(IDS, replica_id)
            self._redis.publish(CHANGES, replica_id)

    def all(self) -> list[Replica]:
        """Every replica that reported lately. Raises StoreUnavailable."""
        with unavailable():
            ids = sorted(
                raw_id.decode() for raw_id in cast("set[bytes]", self._redis.smembers(IDS))
            )
            if not ids:
                return []
            raw = cast(
                "list[bytes | None]", self._redis.mget([ENTRY + replica_id for replica_id in ids])
            )
            ended = [
                replica_id for replica_id, entry in zip(ids, raw, strict=True) if entry is None
            ]
            if ended:
                self._redis.srem(IDS, *ended)
        return _parsed(raw)


class AsyncDirectory:
    """A live view for the API: read again on every change and once a second."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect_async(settings)
        self._replicas: tuple[Replica, ...] = ()
        self._host_addresses: dict[str, HostAddress] = {}
        self._tokens: dict[str, str] = {}
        self._changed = asyncio.Condition()

    def ready(self, deployment_id: str) -> list[Replica]:
        """The replicas of a deployment that take calls now, and whose model host can be reached from here."""
        return [
            r for r in self.of(deployment_id) if r.state == "ready" and r.id in self._host_addresses
        ]

    def host_address(self, replica: Replica) -> HostAddress:
        """How its model host is reached; one that cannot be fails when it is tried."""
        return self._host_addresses.get(replica.id) or HostAddress(replica.address)

    def host_addresses(self) -> set[HostAddress]:
        """Those to all replicas."""
        return set(self._host_addresses.values())

    def of(self, deployment_id: str) -> list[Replica]:
        """All replicas of a deployment."""
        return [r for r in self._replicas if r.deployment_id == deployment_id]

    def everyone(self) -> tuple[Replica, ...]:
        """All replicas of all deployments."""
        return self._replicas

    async def wait_change(self, seconds: float) -> None:
        """Waits until the view was read anew, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait()

    async def wait_ready(self, deployment_id: str, seconds: float) -> bool:
        """Waits until a replica is ready; False when none was in time."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: self.ready(deployment_id))
        except TimeoutError:
            return False
        return True

    async def run_once(self) -> None:
        """Reads all entries. Raises StoreUnavailable."""
        with unavailable():
            raw_ids = cast("set[bytes]", await self._redis.smembers(IDS))  # type: ignore[misc]
            names = [ENTRY + raw_id.decode() for raw_id in sorted(raw_ids)]
            raw = cast("list[bytes | None]", await self._redis.mget(names)) if names else []
            replicas = tuple(_parsed(raw))
            addresses = await self._addresses_of(replicas)
        async with self._changed:
            self._replicas, self._host_addresses = replicas, addresses
            self._changed.notify_all()

    async def _addresses_of(self, replicas: tuple[Replica, ...]) -> dict[str, HostAddress]:
        addresses = {
            replica.id: HostAddress(replica.address)
            for replica in replicas
            if is_here(replica.machine, replica.address)
        }
        away = [
            replica
            for replica in replicas
            if replica.tcp and replica.token_ref and replica.id not in addresses
        ]
        refs = {replica.token_ref for replica in away if replica.token_ref}
        self._tokens = {ref: token for ref, token in self._tokens.items() if ref in refs}
        if unread := sorted(refs - self._tokens.keys()):
            names = [TOKEN + ref for ref in unread]
            found = cast("list[bytes | None]", await self._redis.mget(names))
            self._tokens |= {r: t.decode() for r, t in zip(unread, found, strict=True) if t}
        for replica in away:
            if token := self._tokens.get(replica.token_ref or ""):
                addresses[replica.id] = HostAddress(replica.tcp or "", token)
        return addresses

    async def follow(self) -> None:
        """Keeps the view fresh until cancelled; while the store is away the last view stays."""
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(CHANGES)
                    while True:
                        await self.run_once()
                        await channel.get_message(timeout=POLL_SECONDS)
            except (redis.RedisError, OSError, StoreUnavailable) as error:
                log.warning("directory.unavailable", error=str(error))
                await asyncio.sleep(POLL_SECONDS)

    async def close(self) -> None:
        """Gives the connections back."""
        await self._redis.aclose()

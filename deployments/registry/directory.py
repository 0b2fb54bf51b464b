"""The live replicas as the API sees them. Each replica reports itself; without a heartbeat its entry expires."""

import asyncio
import contextlib
import time
from collections.abc import Collection
from typing import cast

import redis
from redis.asyncio.client import PubSub

from deployments.host_address import HostAddress, is_here
from deployments.registry import verbs as registry
from deployments.registry.keys import CHANGES
from deployments.registry.pages import PAGE, Replicas
from deployments.registry.records import Replica
from tasks.errors import StoreUnavailable
from tasks.process.logs import get_logger
from tasks.store.job_store import AsyncJobStore

log = get_logger("directory")

POLL_SECONDS = 1.0  # between two readings of all that has changed, and after a failed one
GATHER_SECONDS = 0.05  # between two readings of replicas of which it has heard


class Directory:
    """The current replicas. Changes are read as they come, many at a time, and what was missed within a second."""

    def __init__(self, store: AsyncJobStore) -> None:
        self._store = store
        self._live = Replicas(store)
        self._replicas: tuple[Replica, ...] = ()
        self._of: dict[str, list[Replica]] = {}  # by deployment
        self._host_addresses: dict[str, HostAddress] = {}
        self._tokens: dict[str, str] = {}
        self._changed = asyncio.Condition()

    def ready(self, deployment_id: str) -> list[Replica]:
        """The replicas of a deployment that accept calls now and can be reached from here."""
        return [
            r for r in self.of(deployment_id) if r.state == "ready" and r.id in self._host_addresses
        ]

    def host_address(self, replica: Replica) -> HostAddress:
        """The address of its model host. Without one that can be reached from here, it is that of the socket, and a call fails."""
        return self._host_addresses.get(replica.id) or HostAddress(replica.address)

    def host_addresses(self) -> set[HostAddress]:
        """The addresses of all replicas."""
        return set(self._host_addresses.values())

    def of(self, deployment_id: str) -> list[Replica]:
        """All replicas of a deployment."""
        return self._of.get(deployment_id, [])

    def everyone(self) -> tuple[Replica, ...]:
        """All replicas of all deployments."""
        return self._replicas

    async def wait_change(self, seconds: float) -> None:
        """Waits until the replicas were read again, at most that long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait()

    async def wait_ready(self, deployment_id: str, seconds: float) -> bool:
        """Waits until a replica is ready. False if none was ready in time."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: self.ready(deployment_id))
        except TimeoutError:
            return False
        return True

    async def run_once(self) -> None:
        """Reads what has changed. Raises StoreUnavailable."""
        await self._live.read()
        addresses = await self._addresses_of(self._live.known.values())
        await self._show(addresses)

    async def _look(self, ids: set[str]) -> None:
        """Reads these replicas."""
        await self._live.look(ids)
        known = self._live.known
        addresses = await self._addresses_of([known[id_] for id_ in ids & known.keys()])
        stay = known.keys() - ids
        before = {id_: each for id_, each in self._host_addresses.items() if id_ in stay}
        await self._show(before | addresses)

    async def _show(self, addresses: dict[str, HostAddress]) -> None:
        replicas = tuple(sorted(self._live.known.values(), key=lambda replica: replica.id))
        of: dict[str, list[Replica]] = {}
        for replica in replicas:
            of.setdefault(replica.deployment_id, []).append(replica)
        refs = {replica.token_ref for replica in replicas}
        self._tokens = {ref: token for ref, token in self._tokens.items() if ref in refs}
        async with self._changed:
            self._replicas, self._of, self._host_addresses = replicas, of, addresses
            self._changed.notify_all()

    async def _addresses_of(self, replicas: Collection[Replica]) -> dict[str, HostAddress]:
        """Those of them that can be reached from here."""
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
        if unread := sorted(refs - self._tokens.keys()):
            self._tokens |= await self._store.run(registry.tokens(unread))
        for replica in away:
            if token := self._tokens.get(replica.token_ref or ""):
                addresses[replica.id] = HostAddress(replica.tcp or "", token)
        return addresses

    async def follow(self) -> None:
        """Keeps the view up to date until cancelled. While the store does not answer, the last view stays."""
        while True:
            try:
                async with self._store.redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(CHANGES)
                    while True:
                        await self.run_once()
                        await self._hear(channel, time.monotonic() + POLL_SECONDS)
            except (redis.RedisError, OSError, StoreUnavailable) as error:
                log.warning("directory.unavailable", error=str(error))
                await asyncio.sleep(POLL_SECONDS)

    async def _hear(self, channel: PubSub, until: float) -> None:
        """Reads the replicas of which it hears. After each reading, it waits a moment for the next ones."""
        while (left := until - time.monotonic()) > 0:
            ids = set[str]()
            while message := await channel.get_message(timeout=0 if ids else left):
                ids.add(cast(bytes, message["data"]).decode())
                if len(ids) >= PAGE:
                    break
            if ids:
                await self._look(ids)
                await asyncio.sleep(GATHER_SECONDS)

"""The live replicas as the API sees them. Each replica reports itself; without a heartbeat its entry expires."""

import asyncio
import contextlib

import redis

from deployments.host_address import HostAddress, is_here
from deployments.registry import verbs as registry
from deployments.registry.keys import CHANGES
from deployments.registry.records import Replica
from tasks.errors import StoreUnavailable
from tasks.process.logs import get_logger
from tasks.store.job_store import AsyncJobStore

log = get_logger("directory")

POLL_SECONDS = 1.0  # between two readings without a change, and after a failed one


class Directory:
    """The current replicas. They are read again at every change and once a second."""

    def __init__(self, store: AsyncJobStore) -> None:
        self._store = store
        self._replicas: tuple[Replica, ...] = ()
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
        return [r for r in self._replicas if r.deployment_id == deployment_id]

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
        """Reads all entries. Raises StoreUnavailable."""
        replicas = tuple(await self._store.run(registry.replicas()))
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
                        await channel.get_message(timeout=POLL_SECONDS)
            except (redis.RedisError, OSError, StoreUnavailable) as error:
                log.warning("directory.unavailable", error=str(error))
                await asyncio.sleep(POLL_SECONDS)

"""Nodes with light replicas: `python -m bench.fleet.fakes --nodes N --slots S`, until SIGTERM.

The nodes are real ones (workers/node): their seats, their reading and their reports. In place of a replica's processes there is a task
that says to the store what a real replica says: its heartbeat and its Celery worker's, its wait for wake-ups on a connection of its
own, its channel of cancels, and its claims. A job takes the `ms` of its input. What the nodes read of deployments is parsed once for
all of a process, because hundreds of copies would fill the memory.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import signal
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import redis
import redis.asyncio

import celeryconfig
from deployments.registry import verbs as registry
from deployments.registry.pages import Deployments, Edits
from deployments.registry.records import Replica
from tasks.errors import KingpostError
from tasks.job import Claim, Outcome
from tasks.process.descriptors import raise_descriptor_limit
from tasks.process.loops import keep
from tasks.settings import Settings
from tasks.state import Status
from tasks.store import keys, verbs
from tasks.store.job_store import AsyncJobStore
from tasks.store.records import Reply
from tasks.store.verbs import ScriptCall
from workers.node.main import Node
from workers.processes.supervisor import Part, Supervisor
from workers.replica.environment_file import LOOK_SECONDS
from workers.replica.main import ENTRY_HEARTBEATS

T = TypeVar("T")
CELERY_SAYS = ("/0.celeryev/worker.heartbeat", "x" * 700)  # as long as what a worker says
CELERY_SECONDS = 2.0  # between two signs of life of a Celery worker
WAIT_SECONDS = celeryconfig.broker_transport_options.get("polling_interval", 1)
DONE = Outcome(Status.SUCCEEDED, 1.0)


class OnceParsed(AsyncJobStore):
    """A store whose pages of deployments are parsed once, however many nodes read them while nothing changes."""

    parsed: ClassVar[dict[object, Any]] = {}  # of all stores of the process
    _latest = 0  # the number of the latest change, as of the last reading of everything

    async def run(self, call: ScriptCall[T]) -> T:
        """As that of AsyncJobStore."""
        if call.script == "deployments":
            key, read = (self._latest, *call.arguments), call.read
            call = replace(call, read=lambda reply: self._remembered(key, read, reply))
        result = await super().run(call)
        if call.script == "edited" and not call.arguments[0]:
            self._latest = cast(Edits, result).latest
        return result

    def _remembered(self, key: object, read: Callable[[Reply], T], reply: Reply) -> T:
        if key not in self.parsed:
            if len(self.parsed) > 1000:
                self.parsed.clear()
            self.parsed[key] = read(reply)
        return self.parsed[key]


class LightReplica:
    """What the store hears of one idle replica, and of the jobs that it runs, one at a time."""

    def __init__(self, store: AsyncJobStore, settings: Settings, part: Part) -> None:
        self._store, self._settings = store, settings
        named = dict(itertools.pairwise(part.command))
        self.deployment, self.id = named["--deployment"], named["--replica-id"]
        self._name = part.name
        self._worker = uuid.uuid4().hex[:16]
        self._fences = 0
        self._running: Claim | None = None

    async def run(self) -> None:
        """Until it is cancelled."""
        deployment = await self._store.run(registry.deployment(self.deployment))
        own = redis.asyncio.Redis.from_url(self._settings.redis_url, socket_timeout=None)
        channel = own.pubsub(ignore_subscribe_messages=True)
        try:
            await channel.subscribe(keys.CANCELS + self.id)
            await self._report()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._every(self._settings.heartbeat_seconds, self._beat))
                group.create_task(self._every(CELERY_SECONDS, self._say))
                look = registry.environments(deployment.model_id)
                group.create_task(self._every(LOOK_SECONDS, lambda: self._store.run(look)))
                group.create_task(self._work(own))
        finally:
            with suppress(KingpostError, redis.RedisError):
                await self._store.run(registry.remove(self.id))
                await channel.aclose()
                await own.aclose()

    async def _every(self, seconds: float, work: Callable[[], Any]) -> None:
        await asyncio.sleep(random.uniform(0, seconds))
        while True:
            with suppress(KingpostError, redis.RedisError):
                await work()
            await asyncio.sleep(seconds)

    async def _beat(self) -> None:
        if self._running:
            await self._store.run(verbs.renew([self._running.lease]))
        await self._report()

    async def _report(self) -> None:
        pid, address = os.getpid(), f"/run/kingpost/{self.id}.sock"
        entry = Replica(
            self.id, self.deployment, self._name, "ready", None, address, 1,
            int(self._running is not None), pid, pid, machine="bench",
        )  # fmt: skip
        milliseconds = int(self._settings.heartbeat_seconds * ENTRY_HEARTBEATS * 1000)
        await self._store.run(registry.report(entry, milliseconds))

    async def _say(self) -> None:
        await self._store.redis.publish(*CELERY_SAYS)

    async def _work(self, own: redis.asyncio.Redis) -> None:
        await self._store.run(verbs.wake(self.deployment))
        queue = keys.wakeup_queue(self.deployment)
        while True:
            with suppress(KingpostError, redis.RedisError, OSError):
                if await cast(Any, own.brpop([queue], timeout=WAIT_SECONDS)):
                    while await self._turn():
                        pass

    async def _turn(self) -> bool:
        """Runs a job, if one waits."""
        self._fences += 1
        fence, claimer = f"{self._worker}{self._fences:016d}", f"{self.id}:0"
        self._running = await self._store.run(verbs.claim(self.deployment, claimer, fence, self.id))
        if self._running is None:
            return False
        await asyncio.sleep(json.loads(self._running.input).get("ms", 0) / 1000)
        await self._store.run(verbs.finish(self._running.lease, DONE))
        self._running = None
        return True


class LightSupervisor(Supervisor):
    """Starts tasks instead of processes."""

    def __init__(
        self, changed: Callable[[Part, str], None], store: AsyncJobStore, settings: Settings
    ) -> None:
        super().__init__(changed)
        self._store, self._settings = store, settings

    async def start(self, part: Part) -> None:
        """Starts a light replica."""
        replica = LightReplica(self._store, self._settings, part)
        part.keeper = asyncio.create_task(keep(f"light replica {replica.id}", replica.run))
        self.parts.append(part)

    async def stop_part(self, part: Part, seconds: float) -> None:  # noqa: ARG002 - as in Supervisor
        """Ends it at once."""
        assert part.keeper
        part.keeper.cancel()
        await asyncio.wait([part.keeper])
        self.parts.remove(part)


class LightNode(Node):
    """A node whose replicas are light."""

    def __init__(self, settings: Settings, replicas: AsyncJobStore) -> None:
        super().__init__(settings, lambda _part, _what: None)
        self._store = OnceParsed(settings)
        self._deployments = Deployments(self._store)
        self._supervisor = LightSupervisor(self._part_changed, replicas, settings)


async def fleet(settings: Settings, nodes: int, stop: asyncio.Event) -> None:
    """Runs nodes until `stop`. They begin at different moments, as on different machines."""
    replicas = AsyncJobStore(settings)

    async def node(number: int) -> None:
        folder = settings.state_dir / f"node-{os.getpid()}-{number}"
        own = settings.model_copy(update={"state_dir": folder})
        folder.mkdir(parents=True)
        await asyncio.sleep(number * 0.05)
        await LightNode(own, replicas).run_forever(stop)

    async with asyncio.TaskGroup() as group:
        for number in range(nodes):
            group.create_task(node(number))
    await replicas.close()


async def _main(nodes: int, slots: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    given = Settings.load()
    more = {"node_slots": slots, "node_gpus": "", "state_dir": Path(given.state_dir)}
    await fleet(given.model_copy(update=more), nodes, stop)


def main() -> None:
    """Reads the options and runs the nodes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--slots", type=int, required=True, help="places for replicas of each node")
    options = parser.parse_args()
    raise_descriptor_limit()
    asyncio.run(_main(options.nodes, options.slots))


if __name__ == "__main__":
    main()

"""The node runs on each machine. It starts the wanted replicas that the machine has room for.

- Nodes do not know each other. The registry says what should run (`wanted`, written by the autoscaler).
- A seat is the right to run one replica. A node takes seats from the registry and renews them.
- When there is no room, a deployment without work makes room for one with work, the least recently used first. A deployment with
  work keeps its place only for a slice of time. None that serves is stopped while as many load as may load at once. Loads that outlast
  their turn do not count.
"""

import asyncio
import os
import secrets
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import islice
from pathlib import Path

from deployments.packages.unpacked import EVERY_SECONDS, UnpackedCollector
from deployments.registry import verbs as registry
from deployments.registry.nodes import (
    MOST_REASONS,
    NodeDevice,
    NodeReplica,
    forget_node,
    report_node,
)
from deployments.registry.nodes import Node as NodeEntry
from deployments.registry.pages import Deployments, vacant
from deployments.registry.records import Deployment, Replica, Seat
from tasks.log_store.shipper import LogShipper
from tasks.process.logs import configure, get_logger
from tasks.process.loops import Guard, Guards, run_forever
from tasks.process.private_files import users_umask
from tasks.process.programs import PART
from tasks.process.variables import child_variables
from tasks.settings import Settings
from tasks.store.job_store import AsyncJobStore
from workers.gate import gate
from workers.node.capacity import Capacity, Place
from workers.node.deaths import tell_death
from workers.node.gauges import UNKNOWN, Gauges
from workers.node.remains import Remains, write_down
from workers.processes.supervisor import DIED, Part, Supervisor
from workers.processes.turns import Turns

log = get_logger("node")

TICK = 0.5  # s, between rounds
REPORT_EVERY = 2.0  # s
LONGEST_PAUSE = 5.0  # s, after rounds that failed: seats lapse if they are not renewed
STOP_SECONDS = 10.0  # s, after drain_seconds, until a replica is killed
KINDS = (
    "chain",
    "model",
    "chainlet",
)  # in the order of the stop: an entrypoint needs its chainlets


@dataclass(eq=False)
class Running:
    """One replica of this node."""

    seat: Seat
    place: Place
    part: Part
    kind: str  # one of KINDS
    since: float  # when it got ready, or was started; monotonic
    ready: bool = False
    failed: bool = False
    loading: bool = True
    load_began: float | None = None  # when its host was seen to load; monotonic
    leaving: asyncio.Task[None] | None = field(default=None, repr=False)  # drains and ends it


@dataclass(frozen=True)
class View:
    """What the registry and the directory held at the beginning of a round."""

    deployments: Mapping[str, Deployment]  # by id
    # ids of deployments with work and without a replica, the longest waiting first, and of those that may have a free seat
    needy: list[str]
    vacant: set[str]
    replicas: dict[str, Replica]  # by id
    seats: dict[str, str]  # replica id -> 'held', or why this node has lost the seat


def run(settings: Settings) -> None:
    """Runs a node until SIGTERM or SIGINT, then drains its replicas. Raises SettingsError."""
    configure(settings)
    gate.check(settings)
    asyncio.run(_main(settings))


async def _main(settings: Settings) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    shipper = LogShipper(settings)
    shipper.start()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_collect(settings, stop))
            await Node(settings, _log_change, ends_orphans=True).run_forever(stop)
    finally:
        await asyncio.to_thread(shipper.stop)


async def _collect(settings: Settings, stop: asyncio.Event) -> None:
    """Deletes unpacked packages that nothing here uses, now and then."""
    store = AsyncJobStore(settings)
    try:
        await run_forever(UnpackedCollector(store, settings), EVERY_SECONDS, stop)
    finally:
        await store.close()


def _log_change(part: Part, what: str) -> None:
    log.info("part.changed", role=part.role, name=part.name, what=what, pid=part.pid)


class Node:
    """The node. `run_once` does all the work, `stop` drains all replicas. `changed` is called at every start and death of a replica."""

    def __init__(
        self,
        settings: Settings,
        changed: Callable[[Part, str], None],
        monotonic: Callable[[], float] = time.monotonic,
        ends_orphans: bool = False,
    ) -> None:
        self.id = f"{os.uname().nodename}-{secrets.token_hex(4)}"
        self._settings = settings
        self._store = AsyncJobStore(settings)
        self._deployments = Deployments(self._store, monotonic)
        self._capacity = Capacity.of(settings)
        self._gauges, self._version = Gauges(), version("kingpost")
        self._changed = changed
        self._supervisor = Supervisor(self._part_changed, ends_orphans)
        self._deaths: list[tuple[Part, str]] = []  # not logged yet, with how the process ended
        self._monotonic = monotonic
        self._began, self._reported = int(time.time() * 1000), -REPORT_EVERY
        self._running: dict[str, Running] = {}  # by replica id
        self._no_room: dict[str, str] = {}  # why, by deployment, as the last round saw it
        self._remains = settings.state_dir / "run" / "node.json"
        self._load_turns = Turns.to_load(settings).most
        self._starts = Guards("start of", monotonic=monotonic)  # by deployment id
        self._side_work = Guard("seats of the node")  # what may fail without ending a round

    async def run_forever(self, stop: asyncio.Event) -> None:
        """Runs a round twice a second until `stop`, then drains."""
        with self._side_work.round():
            await self._forget_earlier()
        self._write_remains()
        with self._side_work.round():
            await self._try_all_again()
        await run_forever(self, TICK, stop, LONGEST_PAUSE)
        await self.stop()

    async def run_once(self) -> View:
        """One round: drains replicas whose seats are lost, starts what fits, makes room. Raises StoreUnavailable."""
        # A list, because replicas that have left are removed from `_running` while the store is asked.
        seats = [running.seat for running in self._running.values() if running.leaving is None]
        view = await self._look(seats)
        self._follow(view)
        await self._tell_deaths(view)
        for replica_id, word in view.seats.items():
            if word != "held":
                self._leave(self._running[replica_id], word)
        await self._start_what_fits(view)
        await self._make_room(view)
        await self._report()
        return view

    async def _report(self) -> None:
        """Tells the registry every REPORT_EVERY what this machine has, and what runs here."""
        if self._monotonic() - self._reported < REPORT_EVERY:
            return
        self._reported = self._monotonic()
        here = [
            NodeReplica(
                running.seat.replica_id,
                running.seat.deployment_id,
                running.part.name,
                running.place.devices,
                running.place.share,
                running.leaving is not None,
            )
            for running in self._running.values()
        ]
        slots, devices = self._settings.node_slots, self._capacity.devices
        free, no_room = self._capacity.slots, dict(islice(self._no_room.items(), MOST_REASONS))
        with self._side_work.part():
            gauges = await self._gauges.read([device.index for device in devices])
            found = tuple(
                NodeDevice(
                    device.index,
                    device.memory,
                    device.free,
                    **vars(gauges.get(device.index, UNKNOWN)),
                )
                for device in devices
            )
            host, pid = os.uname().nodename, os.getpid()
            version = self._version
            entry = NodeEntry(
                self.id, host, pid, self._began, slots, free, found, tuple(here), version, no_room,
                int(time.time() * 1000),
            )  # fmt: skip
            await self._store.run(report_node(entry))

    def _part_changed(self, part: Part, what: str) -> None:
        self._changed(part, what)
        if what.startswith(DIED):
            self._deaths.append((part, what.removeprefix(DIED).strip(" ()")))

    async def _tell_deaths(self, view: View) -> None:
        while self._deaths:
            part, how = self._deaths.pop(0)
            dead = [running for running in self._running.values() if running.part is part]
            for running in dead:
                leader = running.seat.deployment_id
                served = [d for d in view.deployments.values() if leader in (d.id, d.leader)]
                with self._side_work.part():
                    await tell_death(self._store, running.seat.replica_id, how, served)

    async def _forget_earlier(self) -> None:
        """Removes an earlier node of this state folder that died from the directory, and frees its seats. Its replicas ended with it."""
        if remains := Remains.read(self._remains):
            await self._store.run(forget_node(remains.node_id))
            for seat in remains.seats:
                await self._give_up_seat(seat)

    async def _try_all_again(self) -> None:
        """Lets deployments load again whose loads failed too often: the operator may have fixed the cause before this start."""
        known = await self._deployments.read()
        gave_up = [deployment.id for deployment in known.values() if deployment.gave_up]
        await self._store.run(registry.forgive(*gave_up))

    def _write_remains(self) -> None:
        """Writes down its id and seats for the next node, in case this one dies. Without the file, the seats lapse after a while."""
        with self._side_work.round():
            seats = [running.seat for running in self._running.values()]
            write_down(self._remains, self.id, seats)

    async def stop(self) -> None:
        """Drains all replicas. Entrypoints of chains drain before their chainlets."""
        for kind in KINDS:
            mine = [running for running in self._running.values() if running.kind == kind]
            for running in mine:
                await self._give_up_seat(running.seat)
                self._leave(running, "the node stops")
            await asyncio.gather(*(running.leaving for running in mine if running.leaving))
        with self._side_work.round():
            await self._store.run(forget_node(self.id))
        await self._store.close()

    async def _look(self, seats: list[Seat]) -> View:
        milliseconds = int(self._settings.seat_seconds * 1000)
        run, mine = self._store.run, [*self._running]
        words = await run(registry.hold_seats(seats, milliseconds)) if seats else []
        replicas = await run(registry.replicas(mine)) if mine else []
        # What may start is read first, so that the records are those of then or later ones.
        needy, free = await asyncio.gather(run(registry.needy()), run(vacant()))
        return View(
            deployments=await self._deployments.read(),
            needy=needy,
            vacant=free,
            replicas={replica.id: replica for replica in replicas},
            seats={seat.replica_id: word for seat, word in zip(seats, words, strict=True)},
        )

    def _follow(self, view: View) -> None:
        """Notes which replicas load, and which have become ready or failed since the last round."""
        for replica_id, running in self._running.items():
            replica = view.replicas.get(replica_id)
            deployment = view.deployments.get(running.seat.deployment_id)
            # A replica whose package cannot be fetched or read ends before it reports its state.
            broken = replica is None and bool(deployment and deployment.failure)
            running.failed = broken or (replica is not None and replica.state == "failed")
            running.loading = not (running.ready or running.failed) and (
                replica is None or replica.state == "loading"
            )
            if replica is None or replica.host_pid is None:
                running.load_began = None  # it waits for its turn
            elif running.load_began is None:
                running.load_began = self._monotonic()
            if replica and replica.state == "ready" and not running.ready:
                running.ready, running.since = True, self._monotonic()

    async def _start_what_fits(self, view: View) -> None:
        """Starts replicas while there are room and seats: first for deployments with work, then for the latest used."""
        needy = {id_: view.deployments[id_] for id_ in view.needy if id_ in view.deployments}
        wanted = (view.deployments[id_] for id_ in view.vacant & view.deployments.keys())
        later = [each for each in wanted if each.id not in needy]
        later.sort(key=lambda each: (-each.used, each.created, each.id))
        self._no_room.clear()
        for deployment in (*needy.values(), *later):
            deployment_id = deployment.id
            if deployment.leader or deployment.gave_up or not deployment.active:
                continue  # the replicas of a leader serve its followers, too
            guard = self._starts[deployment_id]
            while guard.due and self._count(deployment_id) < _most_here(deployment):
                started = False
                with (
                    guard.part()
                ):  # a deployment that cannot be started does not hold up the others
                    started = await self._start(deployment)
                if not started:
                    break

    def _count(self, deployment_id: str) -> int:
        """The number of its replicas here, without those that are leaving."""
        staying = [running for running in self._running.values() if running.leaving is None]
        return sum(running.seat.deployment_id == deployment_id for running in staying)

    async def _start(self, deployment: Deployment) -> bool:
        """Starts a replica if there are room and a seat for it. Returns whether it did."""
        place = self._capacity.place(deployment)
        if place is None:
            self._no_room[deployment.id] = self._capacity.lacks(deployment)
            return False
        seat = Seat(deployment.id, f"{deployment.id}-{secrets.token_hex(4)}")
        milliseconds = int(self._settings.seat_seconds * 1000)
        if not await self._store.run(registry.take_seat(seat, milliseconds)):
            self._capacity.give_back(place)
            return False
        try:
            part = self._part(deployment, seat, place)
            await self._supervisor.start(part)
        except Exception as error:
            self._capacity.give_back(place)
            await self._give_up_seat(seat)
            why = f"A node could not start its replica: {error}"
            await self._store.run(registry.fail_load(deployment.id, why, self._settings))
            raise
        of = {"deployment": deployment.id, "model": deployment.model_name}
        log.info("replica.started", replica=seat.replica_id, devices=place.devices, **of)
        running = Running(seat, place, part, deployment.kind, self._monotonic())
        self._running[seat.replica_id] = running
        self._write_remains()
        return True

    def _part(self, deployment: Deployment, seat: Seat, place: Place) -> Part:
        command = [*PART, "replica"]
        command += ["--deployment", deployment.id, "--replica-id", seat.replica_id]
        log_file = self._settings.state_dir / "logs" / f"replica-{deployment.id}.log"
        env = child_variables(
            KINGPOST_LOG_FILE=str(log_file.resolve()),
            KINGPOST_REDIS_URL=self._settings.redis_url,
            KINGPOST_STATE_DIR=str(self._settings.state_dir.resolve()),
            **place.variables,
        )
        # Several PyTorch processes with a thread for each core would slow each other down.
        env.setdefault("OMP_NUM_THREADS", "1")
        part = Part("replica", deployment.model_name, command, Path(log_file), env)
        part.umask = (
            users_umask()
        )  # for the files of its models; its own files are private all the same
        return part

    async def _make_room(self, view: View) -> None:
        """Stops at most one replica, for the longest waiting deployment that can use its place."""
        if any(running.leaving for running in self._running.values()):
            return
        for waiting in (
            view.deployments[deployment_id]
            for deployment_id in view.needy
            if deployment_id in view.deployments
        ):
            if waiting.failure or self._count(waiting.id):
                continue  # its load failed, so no other replica is stopped for it; or it has just been started
            victim = self._victim(view, waiting)
            if victim:
                room_for = waiting.model_name
                log.info("replica.makes_room", replica=victim.seat.replica_id, room_for=room_for)
                await self._give_up_seat(victim.seat, makes_room=True)
                self._leave(victim, f"room for {room_for}")
                return

    def _victim(self, view: View, waiting: Deployment) -> Running | None:
        """The replica to stop: a failed one, else the least recently used idle one, else the one that had its slice first.

        Only a failed one is stopped if the waiting deployment would have to wait for its turn to load.
        """
        fitting = [
            running
            for running in self._running.values()
            if running.seat.deployment_id != waiting.id
            and self._capacity.could_use(waiting, running.place)
        ]
        failed = [running for running in fitting if running.failed]
        loading = [running for running in self._running.values() if self._has_turn(running)]
        if len(loading) >= self._load_turns:
            return next(iter(failed), None)
        idle = [running for running in fitting if running.ready and self._load(view, running) == 0]
        idle.sort(key=lambda running: view.deployments[running.seat.deployment_id].used)
        ends = self._monotonic() - self._settings.slice_seconds
        busy = [running for running in fitting if running.ready and running.since < ends]
        busy.sort(key=lambda running: running.since)
        return next(iter([*failed, *idle, *busy]), None)

    def _has_turn(self, running: Running) -> bool:
        """Whether it loads, or waits to, and its load counts as one of those that run at once."""
        ends = self._monotonic() - self._settings.load_turn_seconds
        outlasted = running.load_began is not None and running.load_began < ends
        return running.loading and running.leaving is None and not outlasted

    @staticmethod
    def _load(view: View, running: Running) -> float:
        deployment = view.deployments.get(running.seat.deployment_id)
        return deployment.load if deployment else 0

    async def _give_up_seat(self, seat: Seat, makes_room: bool = False) -> None:
        with self._side_work.round():  # if this fails, the seat lapses by itself
            await self._store.run(registry.leave_seat(seat, makes_room))

    def _leave(self, running: Running, why: str) -> None:
        """Begins to drain a replica, unless it is leaving already."""
        if running.leaving is None:
            of = {"deployment": running.seat.deployment_id, "model": running.part.name}
            log.info("replica.leaving", replica=running.seat.replica_id, why=why, **of)
            running.leaving = asyncio.create_task(self._end(running))

    async def _end(self, running: Running) -> None:
        """Drains a replica, ends it and frees its place."""
        with self._side_work.round():
            await self._supervisor.stop_part(
                running.part, self._settings.drain_seconds + STOP_SECONDS
            )
        self._supervisor.kill(running.part)
        self._capacity.give_back(running.place)
        del self._running[running.seat.replica_id]
        self._write_remains()


def _most_here(deployment: Deployment) -> int:
    """How many replicas of the deployment may run here. A server with a fixed port has one, because a second one could not listen."""
    return min(deployment.wanted, 1) if deployment.fixed_port else deployment.wanted

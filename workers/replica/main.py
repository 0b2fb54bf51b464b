"""A replica: a Celery worker for one deployment, with the model host that it supervises."""

import contextlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import Any
from uuid import uuid4

from celery import Celery

from deployments.chains import member_of, process_of, register
from deployments.config.check import was_allowed
from deployments.packages.package import Package, PackageError
from deployments.packages.store import PackageStore
from deployments.registry import verbs as registry
from deployments.registry.keys import RELOADS
from deployments.registry.load_counts import count_load
from deployments.registry.records import Deployment, Replica
from deployments.registry.verbs import NotOnItsOwn
from tasks.celery_app import make_app
from tasks.errors import KingpostError, PayloadUnavailable, StoreUnavailable
from tasks.log_store.shipper import LogShipper
from tasks.machine import machine
from tasks.process import logs, tracing
from tasks.settings import Settings
from tasks.store import keys, verbs
from tasks.store.job_store import JobStore
from tasks.store.scripting import JOBS
from tasks.wakeups import TASK_NAME
from workers.gate.gate import HostGate
from workers.hosting import client as host_client
from workers.hosting.extras import ENVIRONMENT_FILE, extras, files_dir
from workers.hosting.process import HostProcess
from workers.hosting.sockets import HostSocket, worker_address
from workers.node.findings import machine_findings
from workers.replica.channel import Channel
from workers.replica.control import take_over_revoke
from workers.replica.environment_file import EnvironmentFile
from workers.replica.events import RequestEvents
from workers.replica.health import HealthWatch
from workers.replica.heartbeat import Heartbeat
from workers.replica.reloads import Reloads
from workers.replica.runs import Run, Runs, StopReason
from workers.replica.signals import ReplicaCelery, ignore_signals
from workers.replica.turn import Turns
from workers.replica.watchdog import Watchdog
from workers.wire.calls import HostState

log = logs.get_logger("replica")

# After so many an entry of the directory ends. Two failed reports in a row remove no replica that lives.
ENTRY_HEARTBEATS = 3
SYNC_LOOK_SECONDS = 0.1  # between looks whether sync calls have ended; a drain ends so late at most
API_NOTICE_SECONDS = 0.3  # for the API to see that a replica drains, before its calls are counted
SOCKET_PATH_BYTES = 100  # the kernel allows 107 on Linux and 103 on macOS


@dataclass(frozen=True)
class Serving:
    """One deployment that a replica serves. Most replicas serve one; chainlets that share a process share a replica."""

    id: str  # of its entry in the directory
    deployment: Deployment
    socket: HostSocket
    turns: Turns
    gate: HostGate | None  # for an API on another machine


class ReplicaWorker:
    """All parts of a replica. `start` runs before the Celery worker, `stop` after it."""

    def __init__(
        self,
        settings: Settings,
        served: Sequence[tuple[Package, Deployment]],
        replica_id: str | None = None,
    ) -> None:
        leader, self.deployment = served[0]
        self.id = replica_id or f"{self.deployment.id}-{uuid4().hex[:8]}"
        self.concurrency = sum(package.slots for package, _ in served)
        self._settings = settings
        self.store = JobStore(settings)
        self.store.prepare(JOBS)  # loads the scripts now, so that the first job need not wait
        models = {deployment.model_name: deployment.id for _, deployment in served}
        self._shipper = LogShipper(settings, models, self.deployment.id)
        self.app = make_app(settings)
        self._runs = Runs()
        self._draining: set[str] = set()  # ids of `servings`
        self._counted = 0  # the last generation of the host whose load was counted
        self.drain_asked = SimpleQueue[None]()  # by handlers of signals
        ids = [self.id, *(_follower_id(self.id, deployment.id) for _, deployment in served[1:])]
        sockets = [
            HostSocket(
                deployment.model_name, package.root, str(_socket_path(settings.state_dir, name))
            )
            for name, (package, deployment) in zip(ids, served, strict=True)
        ]
        self._config_dir = Path(sockets[0].address).with_suffix(".config")
        self._files_dir = files_dir(settings, self._config_dir)
        host_extras = extras(member_of(leader), settings, self._config_dir)
        # The packages of one process share the environment of the first one, the leader.
        environment_path = self._config_dir / ENVIRONMENT_FILE
        self._environment = EnvironmentFile(self.store, self.deployment, environment_path)
        self.host = HostProcess(
            sockets,
            settings,
            self._host_changed,
            host_extras.named(self.deployment.model_name),
            self._note_failed_load,
            was_allowed("python_version", self.deployment.warnings),
            has_served=self.deployment.served,
        )
        self.hostname = f"{self.id}@{os.uname().nodename}"
        names = {deployment.id: deployment.model_name for _, deployment in served}
        self.events = RequestEvents(self.app, self.hostname, names)
        self.servings = [
            Serving(
                name, deployment, socket, self._turns(deployment.id, socket), self._gate(socket)
            )
            for name, (_, deployment), socket in zip(ids, served, sockets, strict=True)
        ]
        self._asking = ThreadPoolExecutor(len(served), thread_name_prefix="host-state")
        # A folder that several chainlets share is generated code. It changes with a restart only.
        follows_folder = bool(self.deployment.package) and len(served) == 1
        reloads = Reloads(self.host, leader, self.deployment.id)
        self._reloads = Channel(self.store, RELOADS, reloads.take) if follows_folder else None
        # The heartbeat is the safety net for a message that is missed.
        self._cancels = Channel(self.store, keys.CANCELS + self.id, self._cancel)
        self._heartbeat = Heartbeat(self.store, self._runs, settings, self.stop_run, self._report)
        self._health, self._watchdog = self._watches(served)

    def _watches(
        self, served: Sequence[tuple[Package, Deployment]]
    ) -> tuple[HealthWatch, Watchdog]:
        thresholds = [package.runtime.health_checks for package, _ in served]
        runtimes = {deployment.id: package.runtime for package, deployment in served}
        return (
            HealthWatch(self.host, self.host.sockets, thresholds),
            Watchdog(self._runs, self.host, self._settings, self.stop_run, runtimes),
        )

    def _turns(self, deployment_id: str, socket: HostSocket) -> Turns:
        return Turns(
            self.store,
            self.host,
            self._runs,
            self.events,
            self._settings,
            deployment_id,
            self.id,
            socket.worker_address,
        )

    def _gate(self, socket: HostSocket) -> HostGate | None:
        return HostGate(socket.address, self._settings) if self._settings.host_address else None

    def start(self) -> None:
        """Starts the host and every thread of the worker."""
        tracing.set_up("replica")
        self._shipper.start()
        for gate in self._gates():
            gate.start()
        self._environment.start()  # before the host, which reads it
        for part in (
            self.events,
            self.host,
            self._heartbeat,
            self._cancels,
            self._watchdog,
            self._health,
        ):
            part.start()
        threading.Thread(target=self._drain_when_asked, name="drain", daemon=True).start()
        if self._reloads:
            self._reloads.start()

    def _drain_when_asked(self) -> None:
        self.drain_asked.get()
        self.drain()

    def drain(self) -> None:
        """Stops claiming jobs. Running calls get `drain_seconds`, and the chainlets that they call stay open."""
        log.info("replica.draining", running=len(self._runs.all()))
        self._draining.add(self.id)
        for serving in self.servings:
            serving.turns.draining.set()
        self.host.drain()
        self._watchdog.drain()
        self._try_report()

    def stop(self) -> None:
        """Lets sync calls end, ends the host and removes the replica from the directory."""
        self._await_sync_calls()
        self._watchdog.stop()
        self._health.stop()
        if self._reloads:
            self._reloads.stop()
        self._cancels.stop()
        self._environment.stop()
        self._heartbeat.stop()
        self.host.stop()
        for gate in self._gates():
            gate.stop()
        self._asking.shutdown(wait=False)
        self.events.stop()
        for serving in self.servings:
            try:
                ref = serving.gate.ref if serving.gate else None
                self.store.run(registry.remove(serving.id, ref))
            except StoreUnavailable as error:
                log.warning("directory.unavailable", error=str(error))  # its entry ends by itself
            for address in (serving.socket.address, serving.socket.worker_address):
                Path(address).unlink(missing_ok=True)
        for folder in (self._config_dir, self._files_dir):
            shutil.rmtree(folder, ignore_errors=True)
        self._shipper.stop()
        tracing.stop()
        self.store.close()

    def _gates(self) -> list[HostGate]:
        return [serving.gate for serving in self.servings if serving.gate]

    def stop_run(self, run: Run, reason: StopReason) -> None:
        """Asks the host to stop a call. The watchdog ends a host that does not stop it."""
        if self._runs.mark(run, reason):
            log.info("job.stopping", request_id=run.request_id, reason=str(reason))
            for serving in self.servings:
                if serving.deployment.id == run.claim.job.deployment_id:
                    host_client.stop(serving.socket.worker_address, run.lease)

    def _cancel(self, request_id: str) -> None:
        for run in self._runs.of(request_id):
            self.stop_run(run, StopReason.CANCELED)

    def _await_sync_calls(self) -> None:
        """Waits for sync calls to end, up to `drain_seconds` in all.

        A chainlet drains before the chainlets that it calls. A draining one gets no new calls.
        """
        ends = monotonic() + self._settings.drain_seconds
        for serving in self.servings:
            if serving.id not in self._draining:
                self._draining.add(serving.id)
                self._try_report()
            time.sleep(API_NOTICE_SECONDS)
            while monotonic() < ends:
                state = host_client.state(serving.socket.worker_address)
                if state is None or state.open == 0:
                    break
                time.sleep(SYNC_LOOK_SECONDS)

    def _host_changed(self) -> None:
        self._try_report()
        if self.host.ready.is_set():
            self._try_wake()
            if self._counted != self.host.generation:
                self._counted = self.host.generation
                self._count_loads(self.host.load_seconds)

    def _count_loads(self, seconds: float | None) -> None:
        """Counts a load that got ready after that time, or failed (None). A store that is away misses it."""
        with contextlib.suppress(StoreUnavailable):
            known = self.store.run(registry.replicas()) if seconds is not None else []
            own = {serving.id for serving in self.servings}
            served = {r.deployment_id for r in known if r.state == "ready" and r.id not in own}
            for serving in self.servings:
                id_ = serving.deployment.id
                self.store.run(count_load(id_, seconds, cold=id_ not in served))

    def _note_failed_load(self) -> None:
        """Counts a failed load in the registry, which outlives the replica. Raises StoreUnavailable.

        After too many failed loads the replica ends.
        """
        for serving in self.servings:
            message = self.host.error_of(serving.socket) or ""
            self.store.run(registry.fail_load(serving.deployment.id, message, self._settings))
        self._count_loads(None)

    def _try_wake(self) -> None:
        try:
            for serving in self.servings:
                for _ in range(serving.socket.slots):
                    self.store.run(verbs.wake(serving.deployment.id))
        except StoreUnavailable:
            pass  # the sweeper sends them

    def _try_report(self) -> None:
        try:
            self._report()
        except StoreUnavailable as error:
            log.warning("directory.unavailable", error=str(error))  # the heartbeat reports again

    def _report(self) -> None:
        entry_ms = int(self._settings.heartbeat_seconds * ENTRY_HEARTBEATS * 1000)
        runs = Counter(run.claim.job.deployment_id for run in self._runs.all())
        for serving, state in zip(self.servings, self._ask_all(), strict=True):
            entry = self._entry(serving, runs[serving.deployment.id], state)
            token = serving.gate.token if serving.gate else ""
            self.store.run(registry.report(entry, entry_ms, token))

    def _ask_all(self) -> list[HostState | None]:
        """The states of the servings, in their order; None for a host that did not answer.

        They are asked at the same time. Several chainlets with blocked loops, asked in turn, would delay the heartbeat.
        """
        if not self.host.ready.is_set():
            return [None for _ in self.servings]
        addresses = [serving.socket.worker_address for serving in self.servings]
        return list(self._asking.map(host_client.state, addresses))

    def _entry(self, serving: Serving, running: int, state: HostState | None) -> Replica:
        return Replica(
            id=serving.id,
            deployment_id=serving.deployment.id,
            model_name=serving.deployment.model_name,
            state="draining" if serving.id in self._draining else self.host.state,  # type: ignore[arg-type]
            error=self.host.error_of(serving.socket),
            address=serving.socket.address,
            slots=serving.socket.slots,
            busy=running + (state.open if state else 0),
            served=state.served if state else 0,
            pid=os.getpid(),
            host_pid=self.host.pid,
            host_ends=self.host.ends,
            load_began=self.host.load_began,
            note=self.host.note,
            machine=machine(),
            tcp=serving.gate.address if serving.gate else None,
            token_ref=serving.gate.ref if serving.gate else None,
        )


def _follower_id(replica_id: str, deployment_id: str) -> str:
    """The id of the entry of a chainlet that shares the process of a replica. Both ids end with the same characters."""
    return f"{deployment_id}-{replica_id.rpartition('-')[2]}"


def _socket_path(state_dir: Path, replica_id: str) -> Path:
    """The path of the model host's socket: in the state folder, or in a short folder if that path is too long."""
    folder = state_dir.resolve() / "run"
    path = folder / f"{replica_id}.sock"
    if len(worker_address(str(path)).encode()) > SOCKET_PATH_BYTES:  # the longer of the two
        return Path(tempfile.mkdtemp(prefix="kingpost-")) / "host.sock"
    folder.mkdir(parents=True, exist_ok=True)
    return path


def run_folder(settings: Settings, package_dir: Path, allowed: Sequence[str] = ()) -> None:
    """Runs a replica of the package in a folder until SIGTERM, then drains it. Raises PackageError and NotOnItsOwn."""
    package = Package.accept(package_dir, allowed, partial(machine_findings, settings))
    logs.configure(settings, model=package.model_name)
    process = process_of(package)
    if process[0].root != package.root:
        where = f"start the replica of {process[0].root}, which runs both"
        message = f"{package.model_name} shares a process with {process[0].model_name}: {where}."
        raise NotOnItsOwn(message)
    deployments = register(JobStore(settings), process)
    _run(ReplicaWorker(settings, list(zip(process, deployments, strict=True))))


def run_deployment(settings: Settings, deployment_id: str, replica_id: str | None) -> None:
    """Runs a replica of a deployment until SIGTERM, then drains it. The package comes from the package store.

    Raises NotFound, NotOnItsOwn, PackageError, PayloadUnavailable and StoreUnavailable.
    """
    store = JobStore(settings)
    deployment = store.run(registry.deployment(deployment_id))
    store.run(registry.check_on_its_own(deployment))
    logs.configure(settings, model=deployment.model_name)
    try:
        replica = _replica_of(settings, store, deployment, replica_id)
    except Exception as error:
        is_for_people = isinstance(error, KingpostError | PackageError)
        message = str(error) if is_for_people else repr(error)
        store_is_away = isinstance(error, StoreUnavailable | PayloadUnavailable)
        counted = not store_is_away  # which is no fault of the package
        store.run(registry.fail_load(deployment_id, message, settings, counted=counted))
        raise
    _run(replica)


def _replica_of(
    settings: Settings, store: JobStore, deployment: Deployment, replica_id: str | None
) -> ReplicaWorker:
    package = Package.load(PackageStore(settings).folder(deployment))
    process = process_of(package)
    followers = {
        follower.package: follower
        for follower in store.run(registry.deployments())
        if follower.leader == deployment.id
    }
    followed = [(other, followers[str(other.root)]) for other in process[1:]]
    return ReplicaWorker(settings, [(package, deployment), *followed], replica_id)


def _run(replica: ReplicaWorker) -> None:
    worker = _celery_worker(replica)
    replica.start()
    try:
        worker.start()
    finally:
        replica.stop()
        ignore_signals()
    raise SystemExit(worker.exitcode or 0)


def _celery_worker(replica: ReplicaWorker) -> ReplicaCelery:
    """A Celery worker with one thread for each slot. It gets the wake-ups of the deployments that it serves."""
    app: Celery = replica.app
    turns = {
        keys.wakeup_queue(serving.deployment.id): serving.turns for serving in replica.servings
    }

    @app.task(name=TASK_NAME, send_events=False, ignore_result=True, bind=True)
    def wake(task: Any) -> None:
        turns[task.request.delivery_info["routing_key"]].take()

    take_over_revoke(app, replica)
    app.finalize()
    worker = ReplicaCelery(
        app,
        hostname=replica.hostname,
        pool="threads",
        concurrency=replica.concurrency,
        queues=list(turns),
        loglevel=logging.WARNING,
        without_gossip=True,
        without_mingle=True,
        task_events=True,
        quiet=True,
    )
    worker.drain_asked = replica.drain_asked
    return worker

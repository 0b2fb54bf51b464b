"""A replica: a Celery worker for one deployment, with the model host that it supervises."""

import logging
import os
import shutil
import tempfile
import threading
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

from celery import Celery, signals

from deployments.chains import member_of
from deployments.directory import Directory, Replica
from deployments.package import Package, PackageError
from deployments.package_store import PackageStore
from deployments.packaging import folder_hash
from deployments.registry import Deployment, Registry
from deployments.registry_keys import RELOADS
from deployments.ways import machine
from tasks import keys, logs, verbs
from tasks.celery_app import make_app
from tasks.errors import KingpostError, StoreUnavailable
from tasks.settings import Settings
from tasks.store import JobStore
from tasks.wakeups import TASK_NAME
from workers import host_client
from workers.channel import Channel
from workers.control import take_over_revoke
from workers.heartbeat import Heartbeat
from workers.host_chainlet import extras
from workers.host_door import HostDoor
from workers.host_process import HostProcess
from workers.reloads import Reloads
from workers.request_events import RequestEvents
from workers.runner import Runner
from workers.runs import Run, Runs, StopReason
from workers.watch import Watch

log = logs.get_logger("replica")

SYNC_LOOK = 0.1  # s, between looks whether sync calls have ended
SETTLED_SECONDS = 0.3  # for the API to see that a replica drains, before its calls are counted
SOCKET_PATH_BYTES = 100  # the kernel allows 107 on Linux and 103 on macOS


class ReplicaWorker:
    """All parts of a replica, wired; `start` before the Celery worker, `stop` after it."""

    def __init__(
        self,
        settings: Settings,
        package: Package,
        deployment: Deployment,
        replica_id: str | None = None,
    ) -> None:
        self.id = replica_id or f"{deployment.model_name}-{uuid4().hex[:8]}"
        self.deployment = deployment
        self._settings = settings
        self._address = _socket_path(settings.state_dir, self.id)
        self._machine = machine()
        self.store = JobStore(settings)
        self.app = make_app(settings)
        self._directory = Directory(settings)
        self._runs = Runs()
        self._draining = threading.Event()
        self._never = threading.Event()
        self._config_dir = self._address.with_suffix(".config")
        self.door = HostDoor(str(self._address), settings) if settings.host_address else None
        self.host = HostProcess(
            package.root,
            str(self._address),
            settings,
            self._host_changed,
            extras(member_of(package), settings, self._config_dir),
        )
        self.hostname = f"{self.id}@{os.uname().nodename}"
        self.events = RequestEvents(self.app, self.hostname, package.model_name)
        self.runner = Runner(
            self.store, self.host, self._runs, self.events, settings, deployment.id, self.id
        )
        reloads = Reloads(self.host, package, deployment.id)
        self._reloads = Channel(self.store, RELOADS, reloads.take)
        # The heartbeat is the safety net for a message that is missed.
        self._cancels = Channel(self.store, keys.CANCELS, self._cancel)
        self._heartbeat = Heartbeat(self.store, self._runs, settings, self.stop_run, self._report)
        self._watch = Watch(
            self._runs, self.host, settings, self.stop_run, lambda: self._heartbeat.last_success
        )

    def start(self) -> None:
        """Starts the host and every thread of the worker."""
        if self.door:
            self.door.start()
        for part in (self.events, self.host, self._heartbeat, self._cancels, self._watch):
            part.start()
        if self.deployment.package:  # it follows a folder
            self._reloads.start()

    def drain(self) -> None:
        """No new claims; running calls get `drain_seconds`."""
        log.info("replica.draining", running=len(self._runs.all()))
        self._draining.set()
        self.runner.draining.set()
        self._watch.drain()
        self._try_report()

    def stop(self) -> None:
        """Lets sync calls end, ends the host and says goodbye."""
        self._await_sync_calls()
        self._watch.stop()
        if self.deployment.package:
            self._reloads.stop()
        self._cancels.stop()
        self._heartbeat.stop()
        self.host.stop()
        if self.door:
            self.door.stop()
        self.events.stop()
        try:
            self._directory.remove(self.id)
        except StoreUnavailable as error:
            log.warning("directory.unavailable", error=str(error))  # its entry ends by itself
        self._address.unlink(missing_ok=True)
        shutil.rmtree(self._config_dir, ignore_errors=True)
        self.store.close()

    def stop_run(self, run: Run, reason: StopReason) -> None:
        """Asks the host to stop a call; the watch ends a host that does not."""
        if self._runs.mark(run, reason):
            log.info("job.stopping", request_id=run.request_id, reason=str(reason))
            host_client.stop(self.host.address, run.request_id)

    def _cancel(self, request_id: str) -> None:
        run = self._runs.get(request_id)
        if run:
            self.stop_run(run, StopReason.CANCELED)

    def _await_sync_calls(self) -> None:
        """Up to `drain_seconds`; nobody sends new ones to a replica that drains."""
        self._never.wait(SETTLED_SECONDS)
        ends = monotonic() + self._settings.drain_seconds
        while monotonic() < ends:
            said = host_client.state(self.host.address)
            if said is None or said.open == 0:
                return
            self._never.wait(SYNC_LOOK)

    def _host_changed(self) -> None:
        self._try_report()
        if self.host.ready.is_set():
            self._try_wake()

    def _try_wake(self) -> None:
        try:
            for _ in range(self.host.slots):
                self.store.run(verbs.wake(self.deployment.id))
        except StoreUnavailable:
            pass  # the sweeper sends them

    def _try_report(self) -> None:
        try:
            self._report()
        except StoreUnavailable as error:
            log.warning("directory.unavailable", error=str(error))  # the heartbeat reports again

    def _report(self) -> None:
        said = host_client.state(self.host.address) if self.host.ready.is_set() else None
        self._directory.report(
            Replica(
                id=self.id,
                deployment_id=self.deployment.id,
                model_name=self.deployment.model_name,
                state="draining" if self._draining.is_set() else self.host.state,  # type: ignore[arg-type]
                error=self.host.error,
                address=self.host.address,
                slots=self.host.slots,
                busy=len(self._runs.all()) + (said.open if said else 0),
                served=said.served if said else 0,
                pid=os.getpid(),
                host_pid=self.host.pid,
                note=self.host.note,
                machine=self._machine,
                tcp=self.door.address if self.door else None,
                token_ref=self.door.ref if self.door else None,
            ),
            self.door.token if self.door else "",
        )


def _socket_path(state_dir: Path, replica_id: str) -> Path:
    """Where the model host listens: in the state folder, or in a short one when its path is too long."""
    folder = state_dir.resolve() / "run"
    path = folder / f"{replica_id}.sock"
    if len(str(path).encode()) > SOCKET_PATH_BYTES:
        return Path(tempfile.mkdtemp(prefix="kingpost-")) / "host.sock"
    folder.mkdir(parents=True, exist_ok=True)
    return path


def run_folder(settings: Settings, package_dir: Path) -> None:
    """Runs a replica of the package in a folder until SIGTERM: then it drains. Raises PackageError."""
    package = Package.load(package_dir)
    logs.configure(settings, model=package.model_name)
    member = member_of(package)
    deployment = Registry(settings).register(
        package.model_name,
        str(package.root),
        folder_hash(package.root),
        package.slots,
        member.kind if member else "model",
        package.gpus,
        package.gpu_memory,
    )
    _run(settings, package, deployment, None)


def run_deployment(settings: Settings, deployment_id: str, replica_id: str | None) -> None:
    """The same for a deployment; its package is fetched. Raises NotFound, PackageError, PayloadUnavailable."""
    registry = Registry(settings)
    deployment = registry.deployment(deployment_id)
    logs.configure(settings, model=deployment.model_name)
    try:
        package = Package.load(PackageStore(settings).folder(deployment))
    except (KingpostError, PackageError) as error:
        registry.fail(deployment_id, str(error))
        raise
    _run(settings, package, deployment, replica_id)


def _run(
    settings: Settings, package: Package, deployment: Deployment, replica_id: str | None
) -> None:
    replica = ReplicaWorker(settings, package, deployment, replica_id)
    worker = _celery_worker(replica, package.slots)
    replica.start()
    try:
        worker.start()
    finally:
        replica.stop()
    raise SystemExit(worker.exitcode or 0)


def _celery_worker(replica: ReplicaWorker, slots: int) -> Any:
    """A Celery worker with one thread for each slot, fed by the deployment's wake-ups."""
    app: Celery = replica.app

    @app.task(name=TASK_NAME, send_events=False, ignore_result=True)
    def wake() -> None:
        replica.runner.run_available()

    def drain(**_: object) -> None:
        replica.drain()

    take_over_revoke(app, replica)
    signals.worker_shutting_down.connect(drain, weak=False)
    app.finalize()
    return app.Worker(
        hostname=replica.hostname,
        pool="threads",
        concurrency=slots,
        queues=[keys.wakeup_queue(replica.deployment.id)],
        loglevel=logging.WARNING,
        without_gossip=True,
        without_mingle=True,
        task_events=True,
        quiet=True,
    )

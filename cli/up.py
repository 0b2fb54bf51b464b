"""`kingpost up`: the whole stack on one machine, one process for each part."""

import asyncio
import contextlib
import fcntl
import itertools
import json
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cli import banner, embedded_valkey
from cli.accepting import accepted, say_warnings
from cli.chains import build_chains, find_chains, install_chain_key
from cli.embedded_valkey import EmbeddedValkey
from cli.flower import password_file, write_secret
from cli.parts import ME
from cli.ports import bound, is_free, url, why_taken
from cli.readiness import Builds, broken_model, http_answers, not_ready
from cli.start_failed import StartFailed
from deployments.chains import member_of, processes
from deployments.chains import register as register_process
from deployments.directory import Directory
from deployments.package import Package, PackageError
from deployments.registry import Registry
from tasks.api_keys import ApiKeys, key_id
from tasks.errors import SettingsError
from tasks.log_files import turn_over
from tasks.loops import Guard
from tasks.settings import Settings, child_environment, set_aside
from tasks.store_address import shown
from workers.supervisor import Part, Supervisor

POLL = 0.05  # s, while the stack starts
STORE_SECONDS = 60.0  # for Valkey to read its append-only file
FOREIGN_STORE_SECONDS = 4.0  # for a store that is not ours to be reached
STOP_SECONDS = 10.0  # for a part that has nothing to drain
FOLLOW = 0.5  # s, between looks at the replicas that the node runs


@dataclass(frozen=True)
class Choices:
    """The command line of `kingpost up`; no Flower without a port for it."""

    models: Path
    host: str
    port: int
    flower_port: int | None
    state: Path
    allowed: tuple[str, ...] = ()  # keys of config.yaml that need not be supported


def run(choices: Choices) -> None:
    """Runs until Ctrl-C or SIGTERM. Raises a KingpostError with one sentence when the start fails."""
    settings = Settings.load().model_copy(update={"state_dir": choices.state.resolve()})
    packages = find_packages(settings, choices.models, choices.allowed)
    chain_files = find_chains(choices.models)
    if not packages and not chain_files:
        message = "no subfolder has a config.yaml or a chain's entrypoint."
        raise StartFailed(f"The folder {choices.models} holds no model: {message}")
    with _locked(settings.state_dir):
        _check_ports(choices)
        chains = build_chains(chain_files, settings.state_dir / "chains")
        packages += [_accepted(settings, one.root, choices.allowed) for one in chains]
        _check_names(packages)
        asyncio.run(_Stack(settings, choices, packages).run())


def find_packages(settings: Settings, folder: Path, allowed: Sequence[str]) -> list[Package]:
    """The Truss packages right below a folder. Raises StartFailed."""
    if not folder.is_dir():
        raise StartFailed(f"There is no folder {folder} with models; say which with --models.")
    found = sorted(path.parent for path in folder.glob("*/config.yaml"))
    return [_accepted(settings, path, allowed) for path in found]


def _accepted(settings: Settings, folder: Path, allowed: Sequence[str]) -> Package:
    try:
        package = accepted(settings, folder, allowed)
    except PackageError as error:
        raise StartFailed(f"The model in {folder} is broken: {error.shown}") from error
    say_warnings(package)
    return package


def _check_names(packages: list[Package]) -> None:
    by_name = sorted(packages, key=lambda one: one.model_name)
    for one, other in itertools.pairwise(by_name):
        if one.model_name == other.model_name:
            folders = f"{one.root} and {other.root}"
            raise StartFailed(f"{folders} have the same name, {one.model_name}.")


@contextlib.contextmanager
def _locked(state: Path) -> Generator[IO[str]]:
    try:
        state.mkdir(parents=True, exist_ok=True)
        lock = (state / "lock").open("w")
    except OSError as error:
        raise StartFailed(
            f"The state folder {state} cannot be written: {error.strerror}."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"Another `kingpost up` runs on {state}; stop it, or give --state."
            raise StartFailed(message) from None
        yield lock


def _check_ports(choices: Choices) -> None:
    for what, flag, port in (
        ("API", "--port", choices.port),
        ("Flower", "--flower-port", choices.flower_port),
    ):
        why = None if port is None else why_taken(choices.host, port)
        if why:
            raise StartFailed(f"The {what} cannot listen: {why}; see --host and {flag}.")


class _Stack:
    """The parts of one `kingpost up`, from the first to the last."""

    def __init__(self, settings: Settings, choices: Choices, packages: list[Package]) -> None:
        self._settings = settings
        self._choices = choices
        self._packages = packages
        self._leaders = [process[0] for process in processes(packages)]
        self._state = settings.state_dir
        self._supervisor = Supervisor(self._on_change)
        self._builds = Builds()
        self._ready = False
        self._stop = asyncio.Event()
        self._replicas: list[dict[str, object]] = []
        self._written: dict[str, object] = {}  # what up.json says
        self._listening: list[socket.socket] = []
        self._follower: asyncio.Task[None] | None = None
        given = "node_slots" in settings.model_fields_set
        self._slots = settings.node_slots if given else max(settings.node_slots, len(self._leaders))
        self._own_valkey = "redis_url" not in settings.model_fields_set

    async def run(self) -> None:
        """Starts, waits for a signal, drains."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        try:
            await self._start()
            await self._stop.wait()
            _say("Draining: running jobs may finish, Ctrl-C again ends at once.")
        finally:
            await self._end()

    def _on_signal(self) -> None:
        if self._stop.is_set():
            for part in self._supervisor.parts:
                Supervisor.kill(part)
            os._exit(1)  # the second Ctrl-C: nobody wants to wait for anything
        self._stop.set()

    async def _start(self) -> None:
        if self._own_valkey:
            valkey = EmbeddedValkey.prepare(self._state / "valkey")
            await self._part("valkey", "valkey", valkey.command)
            self._settings = self._settings.model_copy(update={"redis_url": valkey.url})
        await self._store_answers()
        if names := set_aside():
            print(f"Not used here, but seen by models: {', '.join(names)}.", flush=True)
        new_key = install_key(self._settings)
        await self._start_parts()
        limit = self._settings.environment_build_seconds + self._settings.load_timeout_seconds
        await self._until(self._everything_ready, limit)
        if not self._stop.is_set():
            self._ready = True
            self._replicas = await asyncio.to_thread(self._read_replicas)
            self._write_up_json()
            print(banner.ready(self._choices, self._settings, self._packages, new_key), flush=True)
            self._follower = asyncio.create_task(self._follow_replicas())

    async def _store_answers(self) -> None:
        url = self._settings.redis_url
        seconds = STORE_SECONDS if self._own_valkey else FOREIGN_STORE_SECONDS
        try:
            await self._until(lambda: asyncio.to_thread(embedded_valkey.answers, url), seconds)
        except TimeoutError:
            why = embedded_valkey.why_silent(url) or "it does not answer"
            message = f"No store can be used at {shown(url)} ({why})"
            raise StartFailed(f"{message}; is KINGPOST_REDIS_URL right?") from None

    async def _start_parts(self) -> None:
        choices = self._choices
        await self._part("maintenance", "maintenance", [*ME, "maintenance"])
        await self._api()
        if choices.flower_port is not None:
            password_file(self._settings)
            flower = ["--address", choices.host, "--port", str(choices.flower_port)]
            await self._part("flower", "flower", [*ME, "flower", *flower])
        await asyncio.to_thread(register, self._settings, self._packages)
        await self._part("node", "node", [*ME, "node"], self._chain_environment())

    async def _api(self) -> None:
        """Its sockets are ours: while it is started again, clients wait in their queue and are not refused."""
        choices = self._choices
        self._listening = bound(choices.host, choices.port)
        numbers = [one.fileno() for one in self._listening]
        command = [*ME, "api", "--host", choices.host, "--port", str(choices.port)]
        command += [f"--listening={number}" for number in numbers]
        await self._part("api", "api", command, self._chain_environment(), numbers)

    def _chain_environment(self) -> dict[str, str]:
        if not any(member_of(package) for package in self._packages):
            return {}
        return {
            "KINGPOST_GATEWAY_URL": self._url(),
            "KINGPOST_CHAIN_API_KEY": install_chain_key(self._settings),
        }

    def _url(self) -> str:
        return url(self._choices.host, self._choices.port)

    async def _part(
        self,
        role: str,
        name: str,
        command: list[str],
        more: Mapping[str, str] | None = None,
        descriptors: Sequence[int] = (),
    ) -> None:
        log = self._state / "logs" / f"{role}.log"
        turn_over(log, self._settings.max_log_bytes)  # Valkey and Flower do not do it themselves
        cores = os.cpu_count() or 1
        threads = str(max(1, cores // max(len(self._leaders), 1)))
        env = child_environment(
            KINGPOST_REDIS_URL=self._settings.redis_url,
            KINGPOST_STATE_DIR=str(self._state),
            KINGPOST_NODE_SLOTS=str(self._slots),
            KINGPOST_LOG_FILE=str(log),
            **(more or {}),
        )
        # Two torch processes with a thread for each core spin against each other.
        env.setdefault("OMP_NUM_THREADS", threads)
        await self._supervisor.start(Part(role, name, command, log, env, descriptors))

    async def _everything_ready(self) -> bool:
        choices = self._choices
        if not await asyncio.to_thread(http_answers, f"{self._url()}/health/ready"):
            return False
        if choices.flower_port is not None and is_free(choices.host, choices.flower_port):
            return False
        broken = await asyncio.to_thread(broken_model, self._settings)
        if broken:
            raise StartFailed(broken)
        for line in await asyncio.to_thread(self._builds.news, self._settings):
            print(line, flush=True)
        names = {package.model_name for package in self._leaders}
        missing = await asyncio.to_thread(not_ready, self._settings, names)
        return len(missing) <= max(len(names) - self._slots, 0)  # those sleep until they are called

    async def _until(self, condition: Callable[[], Awaitable[bool]], seconds: float) -> None:
        """Waits for the condition, a signal, or a part that gives up at its start."""
        async with asyncio.timeout(seconds):
            while not self._stop.is_set() and not await condition():
                for part in self._supervisor.parts:
                    if part.pid is None and part.exit_code == 1 and part.starts == 1:
                        raise StartFailed(f"{part.name} did not start: {part.last_line()}")
                await asyncio.sleep(POLL)

    def _on_change(self, part: Part, what: str) -> None:
        if self._ready or part.starts > 1 or what.startswith("died"):
            _say(f"{part.role} {part.name} {what}; its log: {part.log}")
        if self._ready:
            self._write_up_json()

    def _described(self) -> dict[str, object]:
        choices = self._choices
        return {
            "api": self._url(),
            "flower": banner.flower_url(choices),
            "api_key_file": str(self._state / "api_key"),
            "redis_url": self._settings.redis_url,
            "pid": os.getpid(),
            "parts": [
                {"role": part.role, "name": part.name, "pid": part.pid}
                for part in self._supervisor.parts
            ]
            + self._replicas,
        }

    def _write_up_json(self) -> None:
        up = self._described()
        path = self._state / "up.json"
        write_secret(path.with_suffix(".new"), json.dumps(up, indent=2))
        path.with_suffix(".new").replace(path)
        self._written = up

    async def _follow_replicas(self) -> None:
        """Keeps up.json true: replicas come and go without us."""
        guard = Guard("up.json", FOLLOW)
        while True:
            await asyncio.sleep(FOLLOW)
            with guard.round():
                self._replicas = await asyncio.to_thread(self._read_replicas)
                if self._described() != self._written:
                    self._write_up_json()

    def _read_replicas(self) -> list[dict[str, object]]:
        found = Directory(self._settings).all()
        return [{"role": "replica", "name": one.model_name, "pid": one.pid} for one in found]

    async def _end(self) -> None:
        self._ready = False
        if self._follower:
            self._follower.cancel()
        with contextlib.suppress(OSError):  # whatever ails the folder, the parts have to end
            (self._state / "up.json").unlink(missing_ok=True)
        for listening in self._listening:
            listening.close()
        drain = self._settings.drain_seconds
        # Twice the time: chains end before their chainlets.
        await self._supervisor.stop("node", 2 * (drain + 2 * STOP_SECONDS))
        await self._supervisor.stop("api", drain + STOP_SECONDS)
        for role in ("flower", "maintenance", "valkey"):
            await self._supervisor.stop(role, STOP_SECONDS)


def _say(line: str) -> None:
    """To the console; one that nobody reads, or a full disk below it, ends nothing."""
    with contextlib.suppress(OSError, ValueError):
        print(line, flush=True)


def register(settings: Settings, packages: list[Package]) -> None:
    """A deployment for each folder; those of folders that are gone rest until they are back."""
    registry = Registry(settings)
    present: set[str] = set()
    for process in processes(packages):
        present |= {one.id for one in register_process(registry, process)}
    for deployment in registry.all():
        if deployment.package and deployment.id not in present:
            registry.activate(deployment.id, False)
    registry.close()


def install_key(settings: Settings) -> str | None:
    """Makes sure that a key is valid and in STATE/api_key; a new one is answered, to be shown once."""
    path, keys = settings.state_dir / "api_key", ApiKeys(settings)
    if settings.api_key:
        plain = settings.api_key.get_secret_value()
        if not keys.install(plain):
            raise SettingsError(
                "KINGPOST_API_KEY is a key that was revoked, and it stays so: choose a new one."
            )
        write_secret(path, plain)
        return None
    known = {key.id for key in keys.list() if not key.revoked}
    if path.exists() and key_id(path.read_text().strip()) in known:
        return None
    plain = keys.create("made by kingpost up")
    write_secret(path, plain)
    return plain

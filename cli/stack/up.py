"""`kingpost up`: the whole stack on one machine, one process for each part."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cli.parts import PART_COMMAND
from cli.stack import banner, data_lock, draining, embedded_valkey
from cli.stack.chains import install_chain_key
from cli.stack.embedded_valkey import EmbeddedValkey
from cli.stack.flower import password_file, write_secret
from cli.stack.found import Broken, Found, find, pushed_example
from cli.stack.own_log import set_up_logs
from cli.stack.ports import is_free, url, why_taken
from cli.stack.readiness import Deaths, Models, http_answers
from cli.stack.registering import install_key, register
from cli.stack.start_failed import StartFailed
from cli.stack.state_lock import RUNNING, STARTING, STOPPING, SetNote, locked
from cli.stack.store_watch import StoreWatch
from deployments.registry import verbs as registry
from tasks.errors import KingpostError, StoreUnavailable
from tasks.outside_text import printable
from tasks.process.listening import bound
from tasks.process.log_files import rotate
from tasks.process.loops import Guard
from tasks.process.private_files import users_umask
from tasks.process.variables import child_variables, set_aside
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from tasks.store_address import shown
from workers.processes.ends import children, end_descendants
from workers.processes.supervisor import Part, Supervisor

POLL_SECONDS = 0.05  # between looks at a condition while the stack starts
STORE_SECONDS = 60.0  # for Valkey to read its append-only file
FOREIGN_STORE_SECONDS = 4.0  # for a store of KINGPOST_REDIS_URL to answer
PART_SECONDS = 120.0  # for the API and Flower to listen
STOP_SECONDS = 10.0  # for a part that has nothing to drain
FOLLOW_SECONDS = 0.5  # between looks at the store and the replicas while the stack runs


@dataclass(frozen=True)
class Choices:
    """The options of `kingpost up`. Without `flower_port` there is no Flower."""

    models: Path | None  # None = ./models, if there is one
    host: str
    port: int
    flower_port: int | None
    state: Path
    allowed: tuple[str, ...] = ()  # keys of config.yaml that need not be supported


class NeverCameUp(KingpostError):
    """The stack ran, but some of its models never did."""


def run(choices: Choices) -> None:
    """Runs until Ctrl-C or SIGTERM. Raises a KingpostError if the start fails or, at the end, if a model never came up."""
    began = time.monotonic()
    settings = Settings.load().model_copy(update={"state_dir": choices.state.resolve()})
    with locked(settings.state_dir) as note:
        note(STARTING)
        _check_ports(choices)
        _say(f"Kingpost starts; data, key and logs are in {choices.state}.")
        set_up_logs(choices.state, settings.max_log_bytes)
        found = find(settings, choices.models, choices.allowed, _say)
        stack = _Stack(settings, choices, found, began, note)
        asyncio.run(stack.run())
    if missing := stack.never_came_up:
        folders = ", ".join(banner.short(broken.folder) for broken in missing)
        raise NeverCameUp(f"Stopped. These never came up: {folders}; the reasons are above.")


def _check_ports(choices: Choices) -> None:
    for what, flag, port in (
        ("API", "--port", choices.port),
        ("Flower", "--flower-port", choices.flower_port),
    ):
        why = None if port is None else why_taken(choices.host, port)
        if why:
            raise StartFailed(
                f"The {what} cannot listen: {why}; choose another with --host or {flag}."
            )


class _Stack:
    """The parts of one `kingpost up`, from start to stop."""

    def __init__(
        self, settings: Settings, choices: Choices, found: Found, began: float, note: SetNote
    ) -> None:
        self._settings = settings
        self._choices = choices
        self._found = found
        self._began = began  # on the monotonic clock
        self._say_state = note  # for other commands: what this one does
        self._state = settings.state_dir
        # Children of the program that became this one by `exec`. They are not ended.
        self._older_children = children()
        self._supervisor = Supervisor(self._on_change)
        self._models: Models | None = None  # None until they are registered
        self._ready = False
        self._stop = asyncio.Event()
        self._ending_now: asyncio.Task[None] | None = None  # None before the second Ctrl-C
        self._replicas: list[dict[str, object]] = []
        self._deaths = Deaths()
        self._silent_since: float | None = None  # monotonic clock; None while the store answers
        self._last_up_json: dict[str, object] = {}  # what up.json says
        self._listening: list[socket.socket] = []
        self._follower: asyncio.Task[None] | None = None
        self._store_watch: StoreWatch | None = None
        self._data_lock: IO[bytes] | None = None  # the lock on the data of the embedded store
        least = 0 if "node_slots" in settings.model_fields_set else len(found.processes)
        self._slots = max(settings.node_slots, least)
        self._own_valkey = "redis_url" not in settings.model_fields_set

    async def run(self) -> None:
        """Starts the parts, waits for a signal, drains and stops them."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        try:
            await self._start()
            await self._stop.wait()
            running = await draining.running_jobs(self._settings)
            _say(draining.waits_for(running, self._settings.drain_seconds))
        finally:
            await self._end()

    def _on_signal(self) -> None:
        if not self._stop.is_set():
            self._say_state(STOPPING)
            self._stop.set()
        elif self._ending_now is None:
            self._ending_now = asyncio.create_task(self._end_now())

    async def _end_now(self) -> None:
        """Ends everything at once: nothing that was started here outlives this process."""
        try:
            _say(draining.cut_off(await draining.running_jobs(self._settings)))
        finally:
            for part in self._supervisor.parts:
                Supervisor.kill(part)
            end_descendants(self._older_children)
            os._exit(1)

    @property
    def broken(self) -> list[Broken]:
        """The folders that are left out, and the models whose last load failed."""
        return self._found.broken + (list(self._models.failed.values()) if self._models else [])

    @property
    def never_came_up(self) -> list[Broken]:
        """As `broken`, without the models that came up later, for example by a push."""
        came_up = self._models.came_up if self._models else set[str]()
        return [broken for broken in self.broken if broken.name not in came_up]

    async def _start(self) -> None:
        if self._own_valkey:
            folder = self._state / "valkey"
            self._data_lock = await asyncio.to_thread(data_lock.take, folder, _say)
            valkey = EmbeddedValkey.prepare(folder)
            await self._start_part(
                "valkey", "valkey", valkey.command, None, [self._data_lock.fileno()]
            )
            self._settings = self._settings.model_copy(update={"redis_url": valkey.url})
        await self._store_answers()
        if names := set_aside():
            _say(f"Kingpost ignores these variables, models see them: {', '.join(names)}.")
        which = "embedded" if self._own_valkey else shown(self._settings.redis_url)
        self._store_watch = StoreWatch(self._settings, which)
        await asyncio.to_thread(self._look_at_store)
        new_key = install_key(self._settings)
        await self._start_parts()
        await self._parts_answer()
        await self._models_settle()
        if not self._stop.is_set():
            self._ready = True
            self._replicas = await asyncio.to_thread(self._read_replicas)
            self._write_up_json()
            self._say_state(RUNNING)
            _say(banner.ready(self._choices, self._settings, self._outcome(new_key)))
            self._follower = asyncio.create_task(self._follow())

    def _outcome(self, new_key: str | None) -> banner.Outcome:
        ours = {package.model_name for package in self._found.packages}
        store = JobStore(self._settings)
        known = [
            deployment
            for deployment in store.run(registry.deployments())
            if deployment.active and not deployment.package
        ]
        sound = {deployment.model_name for deployment in known if not deployment.failure}
        pushed = sorted({deployment.model_name for deployment in known} - ours, key=lambda name: (name not in sound, name))  # fmt: skip
        seconds = time.monotonic() - self._began
        example = pushed_example(self._settings, store, pushed[0]) if pushed else None
        return banner.Outcome(self._found.packages, pushed, self.broken, seconds, new_key, example)

    async def _store_answers(self) -> None:
        url = self._settings.redis_url
        seconds = STORE_SECONDS if self._own_valkey else FOREIGN_STORE_SECONDS
        if not await self._wait_until(
            lambda: asyncio.to_thread(embedded_valkey.answers, url), seconds
        ):
            why = embedded_valkey.why_silent(url) or "it does not answer"
            raise StartFailed(
                f"No store can be used at {shown(url)} ({why}); check KINGPOST_REDIS_URL."
            )
        _say(embedded_valkey.is_up(self._state / "logs" / "valkey.log", self._own_valkey))

    async def _start_parts(self) -> None:
        choices = self._choices
        await self._start_part("maintenance", "maintenance", [*PART_COMMAND, "maintenance"])
        await self._start_api()
        if choices.flower_port is not None:
            password_file(self._settings)
            flower = ["--address", choices.host, "--port", str(choices.flower_port)]
            await self._start_part("flower", "flower", [*PART_COMMAND, "flower", *flower])
        leaders = await asyncio.to_thread(register, self._settings, self._found)
        self._models = Models(self._settings, leaders)
        await self._start_part("node", "node", [*PART_COMMAND, "node"], self._chain_environment())

    async def _start_api(self) -> None:
        """Starts the API with sockets that this process holds. While the API restarts, clients wait and are not refused."""
        choices = self._choices
        try:
            self._listening = bound(choices.host, choices.port)
        except OSError as error:  # somebody has taken the port since `_check_ports`
            message = f"The API cannot listen on port {choices.port}: {error.strerror}"
            raise StartFailed(f"{message}; choose another with --host or --port.") from error
        numbers = [listener.fileno() for listener in self._listening]
        command = [*PART_COMMAND, "api", "--host", choices.host, "--port", str(choices.port)]
        command += [f"--listening={number}" for number in numbers]
        await self._start_part("api", "api", command, self._chain_environment(), numbers)

    def _chain_environment(self) -> dict[str, str]:
        """What chainlets need to call each other, also of a chain that is pushed later."""
        return {
            "KINGPOST_GATEWAY_URL": self._url(),
            "KINGPOST_CHAIN_API_KEY": install_chain_key(self._settings),
        }

    def _url(self) -> str:
        return url(self._choices.host, self._choices.port)

    async def _start_part(
        self,
        role: str,
        name: str,
        command: list[str],
        more: Mapping[str, str] | None = None,
        descriptors: Sequence[int] = (),
    ) -> None:
        log = self._state / "logs" / f"{role}.log"
        # Valkey and Flower do not rotate their logs themselves.
        rotate(log, self._settings.max_log_bytes)
        cores = os.cpu_count() or 1
        threads = str(max(1, cores // max(len(self._found.processes), 1)))
        env = child_variables(
            KINGPOST_REDIS_URL=self._settings.redis_url,
            KINGPOST_STATE_DIR=str(self._state),
            KINGPOST_NODE_SLOTS=str(self._slots),
            KINGPOST_LOG_FILE=str(log),
            **(more or {}),
        )
        # The models share the cores. With a thread for each core in each model, torch's threads wait for each other and burn CPU.
        env.setdefault("OMP_NUM_THREADS", threads)
        # Our own parts make their files private themselves.
        umask = -1 if role == "valkey" else users_umask()
        await self._supervisor.start(Part(role, name, command, log, env, descriptors, umask))

    async def _parts_answer(self) -> None:
        answers = {"api": self._api_answers}
        if self._choices.flower_port is not None:
            answers["flower"] = self._flower_listens
        for part, answer in answers.items():
            if not await self._wait_until(answer, PART_SECONDS):
                log = self._state / "logs" / f"{part}.log"
                message = f"The part {part} did not answer within {PART_SECONDS:.0f} s"
                raise StartFailed(f"{message}; its log: {log}")
            if part == "api" and not self._stop.is_set():
                _say(f"The API listens at {self._url()}.")

    async def _api_answers(self) -> bool:
        return await asyncio.to_thread(http_answers, f"{self._url()}/health/ready")

    async def _flower_listens(self) -> bool:
        port = self._choices.flower_port
        return port is None or not is_free(self._choices.host, port)

    async def _models_settle(self) -> None:
        """Waits until each model is ready, has failed, or sleeps because there is no room for it."""
        names = [process[0].model_name for process in self._found.processes]
        if names:
            _say(f"Loading {', '.join(names)}.")
        limit = self._settings.virtualenv_build_seconds + self._settings.load_timeout_seconds
        if not await self._wait_until(self._models_settled, limit):
            _say(f"Not all models are loaded after {limit:.0f} s; they continue to load.")

    async def _models_settled(self) -> bool:
        models, count = self._models, len(self._found.processes)
        with contextlib.suppress(StoreUnavailable):
            await self._say_news()
            return models is None or models.waiting <= max(count - self._slots, 0)
        return False

    async def _say_news(self) -> None:
        lines = await asyncio.to_thread(self._models.look) if self._models else []
        for line in lines:
            _say(line)

    async def _wait_until(self, condition: Callable[[], Awaitable[bool]], seconds: float) -> bool:
        """Waits for the condition or a signal. False when the time is over. Raises StartFailed for a part that gave up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._stop.is_set() and not await condition():
                    for part in self._supervisor.parts:
                        # Exit code 1 at the first start is a refusal, such as of a setting: another start cannot help.
                        if part.pid is None and part.exit_code == 1 and part.starts == 1:
                            why = embedded_valkey.why_not_started(part.last_line())
                            raise StartFailed(f"{part.name} did not start: {why}")
                    await asyncio.sleep(POLL_SECONDS)
            return True
        return False

    def _on_change(self, part: Part, what: str) -> None:
        if self._ready or part.starts > 1 or what.startswith("died"):
            _say(f"{part.title} {what}; its log: {part.log}")
        if self._ready:
            self._write_up_json()

    def _up_json(self) -> dict[str, object]:
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
            "broken": [
                {"name": broken.name, "folder": str(broken.folder), "reason": broken.reason}
                for broken in self.broken
            ],
        }

    def _write_up_json(self) -> None:
        up = self._up_json()
        path = self._state / "up.json"
        write_secret(path.with_suffix(".new"), json.dumps(up, indent=2))
        path.with_suffix(".new").replace(path)
        self._last_up_json = up

    async def _follow(self) -> None:
        """Keeps up.json up to date, because nodes start and stop replicas. Reports models that come up later."""
        guard = Guard("up.json", FOLLOW_SECONDS)
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            with guard.round():
                async with self._reporting_silence():
                    await self._follow_once()

    async def _follow_once(self) -> None:
        # First a ping without retries: the calls below retry for many seconds when the store is silent.
        url = self._settings.redis_url
        if why := await asyncio.to_thread(embedded_valkey.why_silent, url, retries=0):
            raise StoreUnavailable(f"The store does not answer: {why}.")
        if await asyncio.to_thread(self._look_at_store):
            await asyncio.to_thread(self._register_again)
        await self._say_news()
        self._replicas = await asyncio.to_thread(self._read_replicas)
        if self._up_json() != self._last_up_json:
            self._write_up_json()

    @contextlib.asynccontextmanager
    async def _reporting_silence(self) -> AsyncGenerator[None]:
        """Says once when the store no longer answers, and once when it does again."""
        began = time.monotonic()
        try:
            yield
        except StoreUnavailable:
            if self._silent_since is None:
                self._silent_since = began
                _say(
                    "The store does not answer: jobs wait until it does, and calls get status 503."
                )
            raise
        if self._silent_since is not None:
            _say(f"The store answers again, after {time.monotonic() - self._silent_since:.0f} s.")
            self._silent_since = None

    def _look_at_store(self) -> bool:
        """Restores what the store has lost, and says so. Returns whether it had lost anything. Raises StoreUnavailable."""
        lost = self._store_watch.look() if self._store_watch else ""
        if lost:
            _say(lost)
        return bool(lost)

    def _register_again(self) -> None:
        """Writes the keys and deployments of this stack again, because the copy that was restored may be older."""
        install_key(self._settings)
        self._chain_environment()
        register(self._settings, self._found)

    def _read_replicas(self) -> list[dict[str, object]]:
        found = JobStore(self._settings).run(registry.replicas())
        for line in self._deaths.look(found):
            _say(line)
        return [
            {"role": "replica", "name": replica.model_name, "pid": replica.pid} for replica in found
        ]

    async def _end(self) -> None:
        self._ready = False
        self._say_state(STOPPING)
        if self._follower:
            self._follower.cancel()
        with contextlib.suppress(OSError):  # the parts have to end even on a full disk
            (self._state / "up.json").unlink(missing_ok=True)
        for listening in self._listening:
            listening.close()
        drain = self._settings.drain_seconds
        # The node ends chains first, then their chainlets, and each may take the whole time.
        await self._supervisor.stop("node", 2 * (drain + 2 * STOP_SECONDS))
        await self._supervisor.stop("api", drain + STOP_SECONDS)
        for role in ("flower", "maintenance", "valkey"):
            await self._supervisor.stop(role, STOP_SECONDS)
        # What is left, such as the replicas of a node that was killed.
        await asyncio.to_thread(end_descendants, self._older_children)
        if self._data_lock:
            self._data_lock.close()


def _say(line: str) -> None:
    """Prints a line. A closed console or a full disk must not end the stack."""
    with contextlib.suppress(OSError, ValueError):
        print(printable(line), flush=True)

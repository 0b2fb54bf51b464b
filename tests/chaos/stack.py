"""The real stack under test: every part a process that can be killed, frozen, and is started again."""

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import redis

from cli.stack.ports import free_port
from deployments.registry import verbs as registry
from tasks.errors import StoreUnavailable
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from tests.chaos import witness
from tests.chaos.proxy import LossyProxy
from tests.chaos.wall import Wall
from tests.conditions import lasts
from tests.processes import Process, ready_replicas, variables
from tests.valkey import Valkey

MODEL = Path(__file__).parent / "ledger_model"
API_KEY = "kp_chaos001.0123456789abcdef0123456789abcdef"


@dataclass
class Stack:
    """2 APIs, 3 replicas, 2 maintenance processes, 1 Valkey; `keep` starts again whatever died."""

    folder: Path
    fsync: str = "always"
    replicas: int = 3
    env: dict[str, str] = field(default_factory=dict[str, str])
    source: Path | None = None  # a copy of the code with its witness, None = one that is made here
    loss: float = 0.0  # of replies, for the parts behind the proxy
    data: Path | None = None  # the store's folder, None = in ours
    wall: Wall | None = None  # the store's clock
    proxied: str | None = None  # parts whose name begins so reach Valkey through a proxy
    parts: dict[str, Process] = field(default_factory=dict[str, Process])
    api_ports: list[int] = field(default_factory=list[int])

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.source = self.source or witness.copied(self.folder / "code")
        data = self.data or self.folder / "valkey"
        data.mkdir()
        given = self.wall.env if self.wall else {}
        self.valkey = Valkey(data, self.fsync, env=given)
        self._keeping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._lock = threading.Lock()

    @property
    def settings(self) -> Settings:
        """Settings for looking at the stack from outside."""
        return Settings(redis_url=self.valkey.url, state_dir=self.folder)

    def start(self) -> "Stack":
        """Starts everything and waits until every replica is ready."""
        self.valkey.start()
        self.proxy = LossyProxy(self.valkey.port, self.loss)
        ours = {
            "KINGPOST_API_KEY": API_KEY,
            "KINGPOST_MAX_DEATHS": "5",  # we kill so many hosts that three in a row hit an innocent job
            "KINGPOST_WEBHOOK_ALLOW_HTTP": "true",
            "KINGPOST_WEBHOOK_ALLOW_PRIVATE": "true",
            "CHAOS_RUNS": str(self.folder / "runs.txt"),
        }
        env = variables(self.settings, **(ours | self.env))
        self.api_ports = [free_port(), free_port()]
        for i, port in enumerate(self.api_ports):
            self._add(f"api{i}", ["api", "--host", "127.0.0.1", "--port", str(port)], env)
        for i in range(self.replicas):
            self._add(f"replica{i}", ["replica", str(MODEL)], env)
        for i in range(2):
            self._add(f"maintenance{i}", ["maintenance"], env)
        ready_replicas(self.settings, self.replicas, timeout=60)
        self._keeper.start()
        return self

    def _add(self, name: str, arguments: list[str], env: dict[str, str]) -> None:
        if self.proxied is not None and name.startswith(self.proxied):
            env = env | {"KINGPOST_REDIS_URL": self.proxy.url}
        self.parts[name] = Process(
            arguments, env, self.folder / f"{name}.log", cwd=self.source
        ).start()

    def _keep(self) -> None:
        while not self._keeping.wait(0.1):
            with self._lock:
                for part in self.parts.values():
                    if part.popen and part.popen.poll() is not None:
                        part.start()
                if self.valkey.process and self.valkey.process.poll() is not None:
                    self.valkey.spawn()

    def kill(self, kind: str, rng: random.Random) -> str:
        """SIGKILLs a random part of that kind; what was killed."""
        with self._lock:
            match kind:
                case "valkey":
                    self.valkey.kill()
                    self.valkey.start()
                    return "valkey"
                case "host":
                    return self._kill_host(rng)
                case "lost wake-ups" | "doubled wake-ups" | "rewrite":
                    self._disturb(kind)
                    return kind
                case "jump":
                    assert self.wall
                    ahead = self.wall.hours > 0  # there and back: nothing here may take a day
                    self.wall.jump(-1 if ahead else 1 if self.wall.hours else rng.choice([-1, 1]))
                    return "jump"
                case "roll":
                    name = rng.choice(sorted(self.parts))
                    self.parts[name].signal(signal.SIGTERM)
                    return f"roll {name}"
                case _:
                    name = rng.choice(sorted(part for part in self.parts if part.startswith(kind)))
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(self.parts[name].pid, signal.SIGKILL)
                    return name

    def _disturb(self, kind: str) -> None:
        """Plays with the broker's lists, or makes Valkey rewrite its file under load."""
        with redis.Redis.from_url(self.valkey.url) as client:
            if kind == "rewrite":
                with contextlib.suppress(redis.ResponseError):  # one is under way already
                    client.bgrewriteaof()
                return
            for queue in client.scan_iter("kingpost.*"):
                waiting = client.lrange(queue, 0, -1)
                if kind == "lost wake-ups":
                    client.delete(queue)
                elif waiting:
                    client.rpush(queue, *(waiting * 10))

    def _kill_host(self, rng: random.Random) -> str:
        try:
            pids = [
                replica.host_pid
                for replica in JobStore(self.settings).run(registry.replicas())
                if replica.host_pid
            ]
        except StoreUnavailable:
            return "no host"
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(rng.choice(pids), signal.SIGKILL)
        return "host"

    def freeze(self, kind: str, rng: random.Random, seconds: float) -> Callable[[], None]:
        """SIGSTOPs a part, or Valkey; call the answer to let it go on after `seconds`."""
        if kind == "valkey":
            assert self.valkey.process
            pid = self.valkey.process.pid
        else:
            pid = self.parts[rng.choice(sorted(x for x in self.parts if x.startswith(kind)))].pid
        ends = time.monotonic() + seconds
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)

        def thaw() -> None:
            lasts(max(0.0, ends - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

        return thaw

    def stop(self) -> None:
        """Ends every process of the stack."""
        self._keeping.set()
        if self._keeper.is_alive():
            self._keeper.join()
        for part in self.parts.values():
            if part.popen and part.popen.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(part.pid, signal.SIGCONT)
                part.kill()
        self.valkey.kill()
        self.proxy.stop()

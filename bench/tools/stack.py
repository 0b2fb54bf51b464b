"""Real processes for the benches: a Valkey, parts of Kingpost, and the programs that it is compared with."""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from cli.stack.ports import free_port
from deployments.packages.package import Package
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment, Replica
from kingpost.packing.files import folder_hash
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from tests.conditions import wait_until
from tests.processes import Process, ready_replicas, variables
from tests.valkey import Valkey

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "bench" / "models"
API_KEY = "kp_benches1.0123456789abcdef0123456789abcdef"
AUTHORIZED = {"authorization": f"Api-Key {API_KEY}"}
START_SECONDS = 60.0


class Program:
    """A child process with its log in a file; ended with SIGTERM, then SIGKILL."""

    def __init__(self, command: list[str], log: Path, env: Mapping[str, str], cwd: Path) -> None:
        self.log = log
        with log.open("ab") as out:
            self.popen = subprocess.Popen(
                command, env=dict(env), stdout=out, stderr=out, cwd=cwd, start_new_session=True
            )

    def stop(self) -> None:
        """Ends it; its own children go with it."""
        self.popen.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, 9)  # LitServe's children do not end with it
        self.popen.wait()

    def wait_for(self, answers: Callable[[], bool]) -> None:
        """Until it answers. Raises with the end of its log when it dies or takes too long."""

        def ready() -> bool:
            if self.popen.poll() is not None:
                raise RuntimeError(f"{self.log.name} ended: {self.log.read_text()[-2000:]}")
            return answers()

        wait_until(ready, START_SECONDS, f"{self.log.name} does not answer")


class Stack:
    """One Valkey, and the parts that a bench asks for; `with` ends them all."""

    def __init__(self, fsync: str = "everysec", **settings: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="kingpost-bench-")
        self.folder = Path(self._folder.name)
        (self.folder / "valkey").mkdir()
        self.valkey = Valkey(self.folder / "valkey", fsync)
        self._more = {f"KINGPOST_{name.upper()}": value for name, value in settings.items()}
        self._ours: list[Process] = []
        self._others: list[Program] = []

    def __enter__(self) -> "Stack":
        self.valkey.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for part in reversed(self._ours):
            part.stop()
        for program in reversed(self._others):
            program.stop()
        self.valkey.kill()
        self._folder.cleanup()

    @property
    def settings(self) -> Settings:
        """For looking at the stack from outside."""
        return Settings(redis_url=self.valkey.url, state_dir=self.folder)

    def told(self, **variables: str) -> "Stack":
        """The same stack; parts that start from now on have these variables, too."""
        self._more |= variables
        return self

    def store(self) -> JobStore:
        """The job store of this stack."""
        return JobStore(self.settings)

    def deployment(self, package: Path) -> Deployment:
        """Makes a model known that no replica runs."""
        read = Package.load(package)
        return JobStore(self.settings).run(
            registry.register(read.model_name, str(read.root), folder_hash(read.root), read.slots)
        )

    def api(self) -> str:
        """Starts one API process; its host:port."""
        port = free_port()
        self.start("api", "--port", str(port))
        target = f"127.0.0.1:{port}"
        wait_until(lambda: answers(target, "/health/ready"), START_SECONDS, "the API is silent")
        return target

    def replica(self, package: Path) -> Replica:
        """Starts a replica of a model and waits until it is ready."""
        self.start("replica", str(package))
        name = Package.load(package).model_name

        def mine() -> list[Replica]:
            return [
                replica
                for replica in ready_replicas(self.settings, 0)
                if replica.model_name == name
            ]

        wait_until(mine, START_SECONDS, f"the replica of {name} is not ready")
        return mine()[0]

    def maintenance(self) -> Process:
        """Starts the sweeper and the webhook sender."""
        return self.start("maintenance")

    def start(self, *arguments: str, **more: str) -> Process:
        """Starts one part of Kingpost."""
        env = variables(self.settings, KINGPOST_API_KEY=API_KEY, **self._more, **more)
        part = Process(list(arguments), env, self.folder / f"{arguments[0]}{len(self._ours)}.log")
        self._ours.append(part.start())
        return part

    def parts(self) -> list[Process]:
        """The parts of Kingpost that were started, in order."""
        return list(self._ours)

    def program(self, name: str, command: list[str], cwd: Path = ROOT, **env: str) -> Program:
        """Starts anything else."""
        log = self.folder / f"{name}{len(self._others)}.log"
        program = Program(command, log, os.environ | {"OMP_NUM_THREADS": "1"} | env, cwd)
        self._others.append(program)
        return program

    def served(self, app: str, **env: str) -> str:
        """Serves an ASGI application of bench/competitors with uvicorn at its best; its host:port."""
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", str(port)]
        command += ["--loop", "uvloop", "--http", "httptools", "--no-access-log"]
        command += ["--log-level", "warning"]
        program = self.program(app.replace(":", "."), command, **env)
        target = f"127.0.0.1:{port}"
        program.wait_for(lambda: answers(target, "/health"))
        return target

    def host(self, package: Path) -> str:
        """A model host by itself, as `unix:PATH`."""
        path = self.folder / f"host{len(self._others)}.sock"
        command = [sys.executable, "-m", "workers.host.main", "--package", str(package)]
        sockets = ["--uds", str(path), "--worker-uds", f"{path}.worker"]
        program = self.program("host", [*command, *sockets])
        program.wait_for(lambda: answers(f"unix:{path}", "/v1/models/model"))
        return f"unix:{path}"


def connection(target: str) -> http.client.HTTPConnection:
    """A connection to host:port or unix:PATH."""
    if not target.startswith("unix:"):
        return http.client.HTTPConnection(target, timeout=30)
    made = http.client.HTTPConnection("host", timeout=30)
    made.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.sock.settimeout(30)
    made.sock.connect(target[5:])
    return made


def answers(target: str, path: str) -> bool:
    """Whether that path answers 200."""
    try:
        made = connection(target)
        made.request("GET", path)
        return made.getresponse().status == 200
    except OSError:
        return False

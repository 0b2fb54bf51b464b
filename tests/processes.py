"""Real `kingpost` processes for the tests, each in a session of its own, with its log in a file."""

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from cli.parts import COMMANDS
from deployments.registry import verbs as registry
from deployments.registry.records import Replica
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from tests.conditions import wait_until


def variables(settings: Settings, **more: str) -> dict[str, str]:
    """What a child gets: our variables, the store's address, and one thread for torch."""
    ours = {
        "KINGPOST_REDIS_URL": settings.redis_url,
        "KINGPOST_STATE_DIR": str(settings.state_dir),
        "OMP_NUM_THREADS": "1",
    }
    return os.environ | ours | more


@dataclass
class Process:
    """One child; `kill` ends it as a crash would."""

    arguments: list[str]
    env: dict[str, str]
    log: Path
    cwd: Path | None = None
    elsewhere: Path | None = None  # the boot id of another machine that it believes to be on
    descriptors: int = 0  # that it may have open, hard; 0 = as we
    soft_descriptors: int = 0  # the same, soft: it may raise it
    program: tuple[str, ...] = ()  # instead of a part, or of the command
    popen: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> "Process":
        """Starts it; does not wait for anything."""
        is_part = self.arguments[0] in {command.__name__ for command in COMMANDS}
        command = [sys.executable, "-m", "cli.parts" if is_part else "cli.main"]
        if self.program:
            command = [sys.executable, *self.program]
        elif self.elsewhere:
            command = [sys.executable, "-m", "tests.elsewhere", str(self.elsewhere)]
        command += self.arguments
        for option, limit in (("-n", self.descriptors), ("-S -n", self.soft_descriptors)):
            if limit:
                command = ["sh", "-c", f'ulimit {option} {limit}; exec "$@"', "sh", *command]
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                command, env=self.env, stdout=log, stderr=log, cwd=self.cwd, start_new_session=True
            )
        return self

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.popen
        return self.popen.pid

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to it alone."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and reaps it."""
        assert self.popen
        self.popen.kill()
        self.popen.wait()

    def stop(self, timeout: float = 30) -> int:
        """SIGTERM and wait for its exit code; SIGKILL when it does not go."""
        assert self.popen
        self.popen.terminate()
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


def descendants(pid: int) -> list[int]:
    """What it started, and what that started; nothing for a process that is gone."""
    found: list[int] = []
    for children in Path("/proc", str(pid), "task").glob("*/children"):
        with contextlib.suppress(OSError):  # gone meanwhile
            for child in children.read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def running_on(state: Path) -> list[str]:
    """The commands of all processes that name this state folder, in their arguments or their variables."""
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone meanwhile
            command = (process / "cmdline").read_bytes()
            if str(state).encode() in command + (process / "environ").read_bytes():
                found.append(command.replace(b"\0", b" ").decode())
    return found


def ready_replicas(settings: Settings, count: int = 1, timeout: float = 30) -> list[Replica]:
    """Waits until so many replicas are ready and answers them."""
    store = JobStore(settings)

    def ready() -> list[Replica]:
        return [replica for replica in store.run(registry.replicas()) if replica.state == "ready"]

    wait_until(lambda: len(ready()) >= count, timeout, f"{count} replicas are not ready")
    return ready()

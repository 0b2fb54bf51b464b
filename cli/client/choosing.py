"""Which server a command talks to: `--url`, `--state`, the variables, the context of `kingpost login`, else the local stack."""

import json
import shlex
import sys
from typing import TYPE_CHECKING

from cli.options import chosen_state, chosen_url
from kingpost import contexts
from kingpost.contexts import Server
from tasks.outside_text import printable
from tasks.process.variables import is_set

if TYPE_CHECKING:
    from kingpost import Client

RETRIES = 2  # few, because somebody waits at the terminal
OF_A_STACK = ("KINGPOST_STATE_DIR", "KINGPOST_REDIS_URL")  # these name a local stack


def chosen_server() -> Server | None:
    """The server that an option, a variable or a context names. None means the local stack. Raises NotConfigured."""
    if url := chosen_url():
        return contexts.chosen(url)
    if chosen_state() is not None:
        return None
    if not is_set(contexts.URL) and any(is_set(name) for name in OF_A_STACK):
        return None
    return contexts.chosen()


def chosen_client() -> "Client | None":
    """A client of the chosen server. None means the local stack. Raises NotConfigured."""
    from kingpost import Client

    server = chosen_server()
    return Client(server, retries=RETRIES, on_busy=say_busy) if server else None


def client(retries: int = RETRIES) -> "Client":
    """A client of the chosen server, or of the local stack. Raises NotConfigured and NoStack."""
    from kingpost import Client

    return Client(chosen_server() or local_server(), retries=retries, on_busy=say_busy)


def say_busy(why: str, seconds: float) -> None:
    """Says on stderr why a command waits, and how long, before it asks a busy server again."""
    print(f"{printable(why)}; trying again in {seconds:g} s.", file=sys.stderr)


def local_server() -> Server:
    """The API and the key of the `kingpost up` with the state folder. Raises NoStack when none runs there."""
    from cli.running import NoStack, current_settings, state_settings

    settings = state_settings()
    try:
        up = json.loads((settings.state_dir / "up.json").read_bytes())
        plain = settings.api_key.get_secret_value() if settings.api_key else None
        key = plain or (settings.state_dir / "api_key").read_text()
        return Server(contexts.address(up["api"]), contexts.checked_key(key))
    except (FileNotFoundError, NotADirectoryError):
        current_settings()  # says why no stack was found, if that is the reason
        way = "use `kingpost login URL`, or set KINGPOST_URL and KINGPOST_API_KEY"
        raise NoStack(
            f"This command calls the API, and only a store is known here; {way}."
        ) from None
    except (ValueError, TypeError, KeyError):
        folder = settings.state_dir.absolute()
        raise NoStack(f"{folder / 'up.json'} is damaged; start `kingpost up` again.") from None


def where() -> str:
    """The options that say which server this command was told to use, for another command: with a space before them, or ''."""
    if url := chosen_url():
        return f" --url {shlex.quote(url)}"
    state = chosen_state()
    return f" --state {shlex.quote(str(state))}" if state else ""

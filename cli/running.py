"""The settings of whatever runs here: commands find the store of a running `kingpost up` by themselves."""

import contextlib
import json
from pathlib import Path

from cli.options import chosen_state
from tasks import store_address
from tasks.errors import KingpostError, SettingsError
from tasks.settings import Settings


class NoStack(KingpostError):
    """No running stack was found."""


def state_settings() -> Settings:
    """From the process variables, with the state folder that the command line says."""
    settings, folder = Settings.load(), chosen_state()
    return settings if folder is None else settings.model_copy(update={"state_dir": folder})


def current_settings() -> Settings:
    """As `state_settings`, with the store of the stack in that folder, unless KINGPOST_REDIS_URL alone says which.

    While `kingpost up` still starts there is no up.json: then the embedded store, if there is one. Raises NoStack, or
    StoreUnavailable when the store that was asked for does not answer.
    """
    settings = state_settings()
    found = _store_in(settings.state_dir)
    given = "redis_url" in settings.model_fields_set
    if given and not (found and chosen_state()):
        _reach(settings)
        return settings
    if found is None:
        raise no_stack(settings, "No running stack was found in")
    from cli.stack.embedded_valkey import answers

    if not answers(found):
        raise no_stack(settings, "No stack runs in")
    return settings.model_copy(update={"redis_url": found})


def no_stack(settings: Settings, what: str) -> NoStack:
    """What to say when there is nothing in the state folder."""
    folder = settings.state_dir.absolute()
    ways = "say which with --state FOLDER, KINGPOST_STATE_DIR or KINGPOST_REDIS_URL"
    return NoStack(f"{what} {folder}: start one with `kingpost up`, or {ways}.")


def check_package_folder(settings: Settings) -> None:
    """Raises NoStack when packages would go to a new folder here, where no node looks for them."""
    if settings.payload_url or "state_dir" in settings.model_fields_set:
        return
    if not settings.state_dir.is_dir():
        way = "say which with --state FOLDER, KINGPOST_STATE_DIR or KINGPOST_PAYLOAD_URL"
        folder = settings.state_dir.absolute()
        raise NoStack(f"There is no {folder} to store a package in, where a node finds it: {way}.")


def _store_in(folder: Path) -> str | None:
    from cli.stack.embedded_valkey import EmbeddedValkey  # late: `kingpost --help` stays quick

    up, valkey = folder / "up.json", EmbeddedValkey.known(folder / "valkey")
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return _address_in(up)
    return valkey.url if valkey else None


def _address_in(up: Path) -> str:
    """Of the store. Raises NoStack for a file that `kingpost up` has not written like this."""
    try:
        return store_address.canonical(json.loads(up.read_bytes())["redis_url"])
    except (ValueError, TypeError, KeyError, AttributeError, SettingsError):
        way = "remove it and start `kingpost up` again"
        raise NoStack(f"{up} is not what `kingpost up` has written there: {way}.") from None


def _reach(settings: Settings) -> None:
    """Before a command does anything. Raises StoreUnavailable."""
    from tasks.store.job_store import connect, unavailable

    client = connect(settings)
    with unavailable():
        client.ping()
    client.close()

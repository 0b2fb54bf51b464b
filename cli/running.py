"""Finds the settings for a command, and with them the store of a running `kingpost up`."""

import contextlib
import json
from pathlib import Path

from cli.options import chosen_state
from kingpost.errors import NotConfigured
from tasks import store_address
from tasks.errors import KingpostError, SettingsError, StoreUnavailable
from tasks.settings import Settings


class NoStack(KingpostError):
    """No running stack was found."""


def state_settings() -> Settings:
    """The settings from the process variables, with the state folder of the command line."""
    settings, folder = Settings.load(), chosen_state()
    return settings if folder is None else settings.model_copy(update={"state_dir": folder})


def current_settings() -> Settings:
    """As `state_settings`, with the store of the stack in that folder, unless KINGPOST_REDIS_URL names the store.
    A stack that `--state` names goes before that variable.

    While `kingpost up` still starts, there is no up.json. Then the embedded store is used, if there is one. Raises NoStack, or
    StoreUnavailable when the store does not answer.
    """
    settings = state_settings()
    found = _address_of_store(settings.state_dir)
    given = "redis_url" in settings.model_fields_set
    if given and not (found and chosen_state()):
        _check_answers(settings)
        return settings
    from cli.stack.embedded_valkey import answers

    if found is None or not answers(found):
        raise _why_none(settings, known=found is not None)
    return settings.model_copy(update={"redis_url": found})


def _why_none(settings: Settings, known: bool) -> KingpostError:
    """Why the store of the stack in the state folder cannot be used now."""
    from cli.stack.state_lock import RUNNING, STARTING, STOPPING, note_of_holder

    folder = settings.state_dir.absolute()
    doing = note_of_holder(settings.state_dir)
    if doing == STOPPING:
        return NoStack(f"The stack in {folder} is stopping; start it again when it has ended.")
    if doing == STARTING:
        return NoStack(f"The stack in {folder} is starting; try again when its store is up.")
    if doing == RUNNING:
        message = f"The store of the stack in {folder} does not answer, although `kingpost up` runs"
        return StoreUnavailable(f"{message}; look into {folder / 'logs' / 'valkey.log'}.")
    if doing is not None:
        message = (
            f"The state folder {folder} is held by `kingpost repair`, or by a stack that could not"
        )
        return NoStack(f"{message} note what it does, as on a full disk; wait until it has ended.")
    return no_stack(settings, "No stack runs in" if known else "No running stack was found in")


def no_stack(settings: Settings, what: str) -> NoStack:
    """The error for a state folder without a stack. `what` begins its sentence, and the folder follows."""
    from cli.client.choosing import chosen_server  # late: it uses this module

    folder = settings.state_dir.absolute()
    server = None
    with contextlib.suppress(NotConfigured):  # it is the stack here that is missing
        server = chosen_server()
    if server:
        here = "this command works only on the machine of the stack, with --state FOLDER"
        return NoStack(f"{what} {folder}, and {here}; it does not use {server.url}.")
    ways = "name another one with --state FOLDER, KINGPOST_STATE_DIR or KINGPOST_REDIS_URL"
    login = "For a server elsewhere: `kingpost login URL`."
    return NoStack(f"{what} {folder}; start one with `kingpost up`, or {ways}. {login}")


def check_package_folder(settings: Settings) -> None:
    """Raises NoStack when a package would be stored in a new folder here, where no node looks for it."""
    if settings.payload_url or "state_dir" in settings.model_fields_set:
        return
    if not settings.state_dir.is_dir():
        way = "name one with --state FOLDER, KINGPOST_STATE_DIR or KINGPOST_PAYLOAD_URL"
        folder = settings.state_dir.absolute()
        raise NoStack(f"There is no folder {folder} in which a node would find the package; {way}.")


def _address_of_store(folder: Path) -> str | None:
    from cli.stack.embedded_valkey import EmbeddedValkey  # late: `kingpost --help` stays quick

    up, valkey = folder / "up.json", EmbeddedValkey.known(folder / "valkey")
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return _address_in(up)
    return valkey.url if valkey else None


def _address_in(up: Path) -> str:
    """The address of the store. Raises NoStack for a file that `kingpost up` has not written."""
    try:
        return store_address.canonical(json.loads(up.read_bytes())["redis_url"])
    except (ValueError, TypeError, KeyError, AttributeError, SettingsError):
        way = "remove it and start `kingpost up` again"
        raise NoStack(f"{up} is damaged or was not written by `kingpost up`; {way}.") from None


def _check_answers(settings: Settings) -> None:
    """Checks that the store answers, before a command changes anything. Raises StoreUnavailable."""
    from tasks.store.job_store import connect, unavailable

    client = connect(settings)
    with unavailable():
        client.ping()
    client.close()

"""The settings of whatever runs here: commands find the store of a running `kingpost up` by themselves.

`--state` is an option of the program and, by `with_state`, of each command that reads the store or the folder.
"""

import functools
import inspect
import json
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

import typer

from tasks.errors import KingpostError
from tasks.settings import Settings

State = Annotated[
    Path | None,
    typer.Option(help="State folder of the `kingpost up` that is meant.", show_default=".kingpost"),
]
_chosen: ContextVar[Path | None] = ContextVar("state", default=None)


class NoStack(KingpostError):
    """No running stack was found."""


def choose_state(folder: Path | None) -> None:
    """Notes what the program's own `--state` says, for `state_settings`."""
    _chosen.set(folder)


def with_state(app: typer.Typer) -> None:
    """Gives `--state` to every command that was registered so far, in groups too."""
    for command in app.registered_commands:
        if command.callback:
            command.callback = _taking_state(command.callback)
    for group in app.registered_groups:
        if group.typer_instance:
            with_state(group.typer_instance)


def _taking_state(command: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(command)
    def wrapped(*args: Any, state: Path | None, **kwargs: Any) -> None:
        if state is not None:
            choose_state(state)
        command(*args, **kwargs)

    signature = inspect.signature(command)
    option = inspect.Parameter(
        "state", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=State
    )
    parameters = [*signature.parameters.values(), option]
    wrapped.__signature__ = signature.replace(parameters=parameters)  # pyright: ignore[reportAttributeAccessIssue]
    wrapped.__annotations__ = command.__annotations__ | {"state": State}
    return wrapped


def state_settings() -> Settings:
    """From the environment, with the state folder that the command line says."""
    settings, folder = Settings.load(), _chosen.get()
    return settings if folder is None else settings.model_copy(update={"state_dir": folder})


def current_settings() -> Settings:
    """As `state_settings`, with the store of the stack in that folder, unless KINGPOST_REDIS_URL alone says which.

    While `kingpost up` still starts there is no up.json: then the embedded store, if there is one. Raises NoStack, or
    StoreUnavailable when the store that was asked for does not answer.
    """
    settings = state_settings()
    found = _store_in(settings.state_dir)
    given = "redis_url" in settings.model_fields_set
    if given and not (found and _chosen.get()):
        _reach(settings)
        return settings
    if found is None:
        raise no_stack(settings, "No running stack was found in")
    from cli.embedded_valkey import answers

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
    from cli.embedded_valkey import EmbeddedValkey  # late: `kingpost --help` stays quick

    up, valkey = folder / "up.json", EmbeddedValkey.known(folder / "valkey")
    if up.exists():
        return str(json.loads(up.read_text())["redis_url"])
    return valkey.url if valkey else None


def _reach(settings: Settings) -> None:
    """Before a command does anything. Raises StoreUnavailable."""
    from tasks.store import connect, unavailable

    client = connect(settings)
    with unavailable():
        client.ping()
    client.close()

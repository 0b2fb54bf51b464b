"""Options that several commands share. Nothing here imports what only a command needs."""

import functools
import inspect
import json
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

import typer

Port = Annotated[int, typer.Option(min=1, max=65535)]
State = Annotated[
    Path | None,
    typer.Option(
        help="State folder of the `kingpost up` to use (default: .kingpost).",
        show_default=False,
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        help="Address of the server to use (default: KINGPOST_URL, the context of `kingpost login`, the local stack).",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Unsupported = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-unsupported",
        metavar="KEY",
        help="Accept this config.yaml key although it is not supported. Repeat for more keys.",
    ),
]
_chosen: ContextVar[Path | None] = ContextVar("state", default=None)
_chosen_url: ContextVar[str | None] = ContextVar("url", default=None)


def choose_state(folder: Path | None) -> None:
    """Stores the value of `--state` for `chosen_state`."""
    _chosen.set(folder)


def chosen_state() -> Path | None:
    """The value of `--state`, given before or after the command."""
    return _chosen.get()


def choose_url(url: str | None) -> None:
    """Stores the value of `--url` for `chosen_url`."""
    _chosen_url.set(url)


def chosen_url() -> str | None:
    """The value of `--url`."""
    return _chosen_url.get()


# Options that `with_state` and `with_server` add: the name, the type, and the function that takes the value.
_STATE = ("state", State, choose_state)
_URL = ("url", Url, choose_url)


def with_state(app: typer.Typer) -> None:
    """Adds the option `--state` to every command of the app."""
    _add_options(app, _STATE)


def with_server(app: typer.Typer) -> None:
    """Adds the options `--url` and `--state` to every command of the app."""
    _add_options(app, _URL, _STATE)


def _add_options(app: typer.Typer, *options: tuple[str, Any, Callable[[Any], None]]) -> None:
    for command in app.registered_commands:
        if command.callback:
            for option in options:
                command.callback = _with_option(command.callback, *option)


def _with_option(
    command: Callable[..., None], name: str, kind: Any, choose: Callable[[Any], None]
) -> Callable[..., None]:
    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        value = kwargs.pop(name)
        if value is not None:
            choose(value)
        command(*args, **kwargs)

    signature = inspect.signature(command)
    option = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
    parameters = [*signature.parameters.values(), option]
    wrapped.__signature__ = signature.replace(parameters=parameters)  # pyright: ignore[reportAttributeAccessIssue]
    wrapped.__annotations__ = command.__annotations__ | {name: kind}
    return wrapped


def say(as_json: bool, sentence: str, **fields: object) -> None:
    """Prints the sentence, or the fields as a JSON object."""
    print(json.dumps(fields) if as_json else sentence)

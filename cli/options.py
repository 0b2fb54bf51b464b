"""Options that several commands share. Nothing here imports what only a command needs."""

import functools
import inspect
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
Unsupported = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-unsupported",
        metavar="KEY",
        help="Accept this config.yaml key although it is not supported. Repeat for more keys.",
    ),
]
_chosen: ContextVar[Path | None] = ContextVar("state", default=None)


def choose_state(folder: Path | None) -> None:
    """Stores the value of `--state` for `chosen_state`."""
    _chosen.set(folder)


def chosen_state() -> Path | None:
    """The value of `--state`, given before or after the command."""
    return _chosen.get()


def with_state(app: typer.Typer) -> None:
    """Adds the option `--state` to every command of the app."""
    for command in app.registered_commands:
        if command.callback:
            command.callback = _taking_state(command.callback)


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

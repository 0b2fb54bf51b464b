"""`kingpost virtualenvs`: manages the virtualenvs of packages with requirements."""

from typing import Annotated

import typer

from cli.running import no_stack, state_settings
from tasks.errors import NotFound

app = typer.Typer(no_args_is_help=True, help="Manages the virtualenvs of models: prune.")
DAY = 86_400.0  # s
PARTS = ("virtualenvs", "logs", "run", "lock")  # what a stack or a node leaves in its state folder


@app.callback()
def root() -> None:
    """Manages the virtualenvs of models."""


@app.command()
def prune(
    unused_days: Annotated[
        float, typer.Option(min=0, help="Days since a model host last started in it.")
    ] = 30,
) -> None:
    """Removes the virtualenvs that no model host has used for a while."""
    # Imported here, because it brings the worker along and `--help` has to stay quick.
    from workers.virtualenvs.shared import folder_of, prune

    settings = state_settings()
    if settings.virtualenvs_dir and not folder_of(settings).is_dir():
        raise NotFound(f"There is no folder {folder_of(settings)} (KINGPOST_VIRTUALENVS_DIR).")
    if not (
        settings.virtualenvs_dir or any((settings.state_dir / part).exists() for part in PARTS)
    ):
        raise no_stack(settings, "Nothing has run in")
    gone = prune(settings, unused_days * DAY)
    print(f"Removed {len(gone)}: {', '.join(gone)}." if gone else "There is nothing to remove.")

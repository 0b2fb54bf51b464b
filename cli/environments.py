"""`kingpost environments`: the environments that were built for packages with requirements."""

from typing import Annotated

import typer

from cli.running import state_settings

app = typer.Typer(no_args_is_help=True, help="Own environments of models: prune.")
DAY = 86_400.0


@app.callback()
def root() -> None:
    """Own environments of models."""


@app.command()
def prune(
    unused_days: Annotated[
        float, typer.Option(min=0, help="Since a host last started in it.")
    ] = 30,
) -> None:
    """Removes environments that no model host has started in for a while and none runs in."""
    from workers.environments import prune  # brings the worker along: `--help` stays quick

    gone = prune(state_settings(), unused_days * DAY)
    print(f"Removed {len(gone)}: {', '.join(gone)}." if gone else "There is nothing to remove.")

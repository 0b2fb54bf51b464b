"""`kingpost`: deploys models, runs the stack or a part of it, and manages keys."""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from cli import (
    deploy,
    deployed,
    environments,
    keys,
    logs,
    models,
    parts,
    queues,
    watch,
    webhook_secrets,
    webhooks,
)
from cli.accepting import Unsupported, check_named
from cli.parts import Port, one_sentence
from cli.running import State, choose_state, state_settings, with_state

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False
)
app.add_typer(keys.app, name="keys")
app.add_typer(webhook_secrets.app, name="webhook-secret")
app.add_typer(webhooks.app, name="webhooks")
for command in (
    deploy.push,
    deploy.promote,
    deploy.rollback,
    deploy.activate,
    deploy.deactivate,
    deployed.deployments,
    watch.watch,
):
    app.command()(command)
app.add_typer(environments.app, name="environments")
app.command()(logs.logs)
app.command("models")(models.list_models)
app.command()(queues.pause)
app.command()(queues.resume)
with_state(app)  # what follows takes no store of a running stack
for command in parts.COMMANDS:
    app.command()(command)


@app.callback(invoke_without_command=True)
def root(
    state: State = None,
    show_version: Annotated[bool, typer.Option("--version")] = False,
) -> None:
    """Says its version, or goes on to the command."""
    choose_state(state)
    if show_version:
        print(version("kingpost"))
        raise typer.Exit


@app.command()
def up(
    models: Annotated[
        Path | None, typer.Option(help="Folder of Truss packages.", show_default="./models")
    ] = None,
    host: Annotated[str, typer.Option(help="Address that the API listens on.")] = "127.0.0.1",
    port: Port = 8000,
    flower_port: Port = 5555,
    no_flower: Annotated[bool, typer.Option("--no-flower")] = False,
    state: State = None,
    allow_unsupported: Unsupported = None,
) -> None:
    """Runs the whole stack on this machine until Ctrl-C."""
    from cli.up import Choices, run  # imports Redis and the rest: `--help` stays quick

    where = models or Path("models")
    allowed = tuple(check_named(allow_unsupported, [where, *where.glob("*/")]))
    folder = state or state_settings().state_dir
    run(Choices(models, host, port, None if no_flower else flower_port, folder, allowed))


@app.command()
def demo(
    models: Annotated[Path, typer.Option(help="Folder of Truss packages.")] = Path("models"),
    out: Annotated[Path, typer.Option(help="Where the picture goes.")] = Path("demo.png"),
) -> None:
    """Runs the stack for a moment, queues digits of two priorities and saves the picture."""
    from cli.demo import run

    run(models, out)


@app.command()
def build_chain(folder: Path, out: Path) -> None:
    """Generates a Truss package for each chainlet of a chain; says which of them take a `kingpost replica`."""
    from cli.chains import build_one

    for package in build_one(folder, out):
        print(package)


def main() -> None:
    """The entry point: an error of ours is one sentence and exit code 1."""
    one_sentence(app)


if __name__ == "__main__":
    main()

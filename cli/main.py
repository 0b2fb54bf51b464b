"""`kingpost`: deploys models, runs the stack or a part of it, and manages keys."""

import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli import (
    deploy,
    deployed,
    environments,
    keys,
    logs,
    models,
    queues,
    watch,
    webhook_secrets,
    webhooks,
)
from tasks.errors import KingpostError, SettingsError
from tasks.settings import Settings

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

Port = Annotated[int, typer.Option(min=1, max=65535)]


@app.callback(invoke_without_command=True)
def root(show_version: Annotated[bool, typer.Option("--version")] = False) -> None:
    """Says its version, or goes on to the command."""
    if show_version:
        print(version("kingpost"))
        raise typer.Exit


@app.command()
def up(
    models: Annotated[Path, typer.Option(help="Folder of Truss packages.")] = Path("models"),
    host: Annotated[str, typer.Option(help="Address that the API listens on.")] = "127.0.0.1",
    port: Port = 8000,
    flower_port: Port = 5555,
    no_flower: Annotated[bool, typer.Option("--no-flower")] = False,
    state: Annotated[Path, typer.Option(help="Data, key and logs live here.")] = Path(".kingpost"),
) -> None:
    """Runs the whole stack on this machine until Ctrl-C."""
    from cli.up import Choices, run  # imports Redis and the rest: `--help` stays quick

    run(Choices(models, host, port, None if no_flower else flower_port, state))


@app.command()
def demo(
    models: Annotated[Path, typer.Option(help="Folder of Truss packages.")] = Path("models"),
    out: Annotated[Path, typer.Option(help="Where the picture goes.")] = Path("demo.png"),
) -> None:
    """Runs the stack for a moment, queues digits of two priorities and saves the picture."""
    from cli.demo import run

    run(models, out)


@app.command()
def api(host: str = "127.0.0.1", port: Port = 8000) -> None:
    """Runs one API process."""
    from api.serve import serve

    serve(Settings.load(), host, port)


@app.command()
def replica(
    package: Annotated[Path | None, typer.Argument(help="Folder of a Truss package.")] = None,
    deployment: Annotated[str | None, typer.Option(help="Instead: a deployment's id.")] = None,
    replica_id: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Runs one replica: a Celery worker and its model host."""
    from workers import replica as replicas

    if (package is None) == (deployment is None):
        raise SettingsError("Say which: the folder of a package, or --deployment ID.")
    if package:
        replicas.run_folder(Settings.load(), package)
    else:
        replicas.run_deployment(Settings.load(), deployment or "", replica_id)


@app.command()
def node() -> None:
    """Runs a node: the replicas that are wanted and that this machine has room for."""
    from workers.node import run

    run(Settings.load())


@app.command()
def build_chain(folder: Path, out: Path) -> None:
    """Generates a Truss package for each chainlet of a chain; says which of them take a `kingpost replica`."""
    from cli.chains import build_one

    for package in build_one(folder, out):
        print(package)


@app.command()
def maintenance() -> None:
    """Runs the sweeper, the webhook sender and the autoscaler; more than one is fine."""
    from deployments.autoscaler import EVERY_SECONDS, Autoscaler
    from tasks.maintenance import run

    settings = Settings.load()
    run(settings, {Autoscaler(settings): EVERY_SECONDS})


@app.command()
def flower(address: str = "127.0.0.1", port: Port = 5555) -> None:
    """Runs Flower on the broker, with basic auth."""
    from cli.flower import run

    run(Settings.load(), address, port)


def main() -> None:
    """The entry point: an error of ours is one sentence and exit code 1."""
    _one_sentence(app)


def _one_sentence(command: Callable[[], None]) -> None:
    try:
        command()
    except KingpostError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(
            f"kingpost: {error}", style="red"
        )
        sys.exit(1)


if __name__ == "__main__":
    main()

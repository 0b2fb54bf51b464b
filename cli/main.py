"""`kingpost`: deploys models, runs the stack or a part of it, and manages keys."""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from cli.lazily import Lazily
from cli.options import Port, State, Unsupported, choose_state
from cli.parts import one_sentence

app = typer.Typer(
    cls=Lazily,
    no_args_is_help=True,
    add_completion=False,
    help=__doc__,
    pretty_exceptions_enable=False,
)


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
        Path | None,
        typer.Option(help="Folder of Truss packages: ./models if it is there.", show_default=False),
    ] = None,
    host: Annotated[str, typer.Option(help="Address that the API listens on.")] = "127.0.0.1",
    port: Port = 8000,
    flower_port: Port = 5555,
    no_flower: Annotated[bool, typer.Option("--no-flower")] = False,
    state: State = None,
    allow_unsupported: Unsupported = None,
) -> None:
    """Runs the whole stack on this machine until Ctrl-C."""
    from cli.accepting import check_named
    from cli.running import state_settings
    from cli.stack.up import Choices, run

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
    from cli.commands.demo import run

    run(models, out)


@app.command()
def build_chain(folder: Path, out: Path) -> None:
    """Generates a Truss package for each chainlet of a chain; says which of them take a `kingpost replica`."""
    from cli.stack.chains import build_one

    for package in build_one(folder, out):
        print(package)


def main() -> None:
    """The entry point: an error of ours is one sentence and exit code 1."""
    one_sentence(app)


if __name__ == "__main__":
    main()

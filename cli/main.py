"""Deploys models, runs the whole stack or one part of it, and manages API keys."""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from cli.lazily import DEPLOY, RUN, Lazily
from cli.options import Port, State, Unsupported, choose_state
from cli.parts import one_sentence

app = typer.Typer(
    cls=Lazily,
    no_args_is_help=True,
    add_completion=True,
    help=__doc__,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def root(
    state: State = None,
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.")
    ] = False,
) -> None:
    """Prints the version, or runs the command."""
    choose_state(state)
    if show_version:
        print(version("kingpost"))
        raise typer.Exit


@app.command(rich_help_panel=RUN)
def up(
    models: Annotated[
        Path | None,
        typer.Option(
            help="Folder of Truss packages (default: models, if it exists).", show_default=False
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address on which the API and Flower listen.")
    ] = "127.0.0.1",
    port: Port = 8000,
    flower_port: Port = 5555,
    no_flower: Annotated[bool, typer.Option("--no-flower", help="Run without Flower.")] = False,
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


@app.command(rich_help_panel=RUN)
def demo(
    models: Annotated[Path, typer.Option(help="Folder of Truss packages.")] = Path("models"),
    out: Annotated[Path, typer.Option(help="File for the picture.")] = Path("demo.png"),
    chat: Annotated[bool, typer.Option("--chat", help="Chat with models/extra/chat.")] = False,
) -> None:
    """Runs a stack, queues ten drawings with two priorities, saves the picture and stops. With --chat, it chats instead, until Ctrl-D."""
    from cli.commands.demo import run
    from cli.live.chat import run as run_chat

    if chat:
        run_chat(models)
    else:
        run(models, out)


@app.command(rich_help_panel=DEPLOY)
def build_chain(
    folder: Annotated[Path, typer.Argument(help="Folder of the chain.")],
    out: Annotated[Path, typer.Argument(help="Folder for the packages.")],
) -> None:
    """Writes a Truss package for each chainlet of a chain. Prints those that need a replica."""
    from cli.stack.chains import build_one

    for package in build_one(folder, out):
        print(package)


def main() -> None:
    """The entry point. A KingpostError is printed as one sentence, and the exit code is 1."""
    one_sentence(app)


if __name__ == "__main__":
    main()

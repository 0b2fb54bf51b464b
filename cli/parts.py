"""The commands that run one process of a stack: `python -m cli.parts api | replica | node | maintenance | flower`.

`kingpost` has the same commands. This module imports none of the others, which halves the time that a part needs to start.
"""

import gc
import io
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cli.options import Port, Unsupported
from kingpost.errors import Error
from tasks.errors import KingpostError, SettingsError
from tasks.outside_text import printable
from tasks.process.descriptors import connections, raise_descriptor_limit, too_low
from tasks.process.private_files import keep_private, only_for_owner
from tasks.process.programs import PART
from tasks.process.variables import prepare_variables

if TYPE_CHECKING:  # `kingpost --help` reads no settings
    from tasks.settings import Settings

NEEDS_SERVER_EXTRA = (
    "This command runs a part of a stack, or looks into the stack of this machine, and only the client is installed here;"
    " install the extra `server` (pip install 'kingpost[server]', or the wheel's file name with [server] behind it). For a server elsewhere: `kingpost login URL`."
)
# Objects until a collection of the young ones, and collections until one of older ones. By default a start spends a tenth of its time
# in collections, and modules are no garbage.
GARBAGE = (50_000, 20, 50)
PART_COMMAND = list(PART)  # runs one of these commands, whose name follows


def api(
    host: str = "127.0.0.1",
    port: Port = 8000,
    listening: Annotated[list[int] | None, typer.Option(hidden=True)] = None,
) -> None:
    """Runs one process of the API."""
    from api.server.serve import serve

    settings = _settings()
    most = connections(settings.max_connections)
    if said := too_low(settings.max_connections):
        print(said, file=sys.stderr)
    serve(settings.model_copy(update={"max_connections": most}), host, port, listening or ())


def replica(
    package: Annotated[Path | None, typer.Argument(help="Folder of a Truss package.")] = None,
    deployment: Annotated[
        str | None, typer.Option(help="Id of a deployment, instead of a folder.")
    ] = None,
    replica_id: Annotated[str | None, typer.Option(hidden=True)] = None,
    allow_unsupported: Unsupported = None,
) -> None:
    """Runs one replica: a Celery worker and its model host."""
    from workers.replica import main as replicas

    if (package is None) == (deployment is None):
        raise SettingsError("Give either the folder of a package or --deployment ID.")
    if package:
        from cli.accepting import check_named
        from kingpost.packing.config_file import PackageError

        allowed = check_named(allow_unsupported, [package])
        try:
            replicas.run_folder(_settings(), package, allowed)
        except PackageError as error:
            raise SettingsError(error.shown) from error
    else:
        replicas.run_deployment(_settings(), deployment or "", replica_id)


def node() -> None:
    """Runs a node, which starts the wanted replicas that this machine has room for."""
    from workers.node.main import run

    run(_settings())


def maintenance() -> None:
    """Runs the sweeper, the webhook sender, the autoscaler, batches and the collector of packages. Several may run."""
    from deployments.batches import runner
    from deployments.packages import collector
    from deployments.registry import autoscaler
    from tasks.maintenance import run

    settings = _settings()
    run(
        settings,
        lambda store: {
            autoscaler.Autoscaler(store, settings): autoscaler.EVERY_SECONDS,
            collector.PackageCollector(store, settings): collector.EVERY_SECONDS,
            runner.BatchRunner(store, settings): runner.EVERY_SECONDS,
        },
    )


def flower(address: str = "127.0.0.1", port: Port = 5555) -> None:
    """Runs Flower, which shows the requests. It asks for a password."""
    from cli.stack.flower import run

    run(_settings(), address, port)


COMMANDS: tuple[Callable[..., None], ...] = (api, replica, node, maintenance, flower)


def _settings() -> "Settings":
    from tasks.settings import Settings

    settings = Settings.load()
    keep_private(settings.state_dir)
    return settings


def one_sentence(command: Callable[[], None]) -> None:
    """Prepares the process and runs the command. An error of ours, or an OSError of a file, is printed as one sentence; the exit code is 1."""
    _prepare_process()
    try:
        command()
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        _print_and_exit(sentence)


def sentence_of(error: BaseException) -> str | None:
    """What a user reads of an error. None for one that nobody has foreseen."""
    if isinstance(error, KingpostError | Error):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and find_spec("celery") is None:
        return NEEDS_SERVER_EXTRA
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)} cannot be used: {error.strerror}."
    return None  # an OSError without a file name is shown with its traceback, because its text says too little


def _print_and_exit(sentence: str) -> NoReturn:
    from rich.console import Console

    said = printable(f"kingpost: {sentence}")
    Console(stderr=True, highlight=False, soft_wrap=True).print(said, style="red", markup=False)
    sys.exit(1)


def _prepare_process() -> None:
    gc.set_threshold(*GARBAGE)
    prepare_variables()
    only_for_owner()
    raise_descriptor_limit()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A character that the locale does not have must not end a command. Whoever reads a pipe gets each line at once.
            stream.reconfigure(errors="replace", line_buffering=True)


def main() -> None:
    """The entry point of one part."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    for command in COMMANDS:
        app.command()(command)
    one_sentence(app)


if __name__ == "__main__":
    main()

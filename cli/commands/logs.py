"""`kingpost logs`: shows what a model or a request wrote to the log files of `kingpost up`."""

import shutil
import sys
import threading
from datetime import date
from typing import Annotated

import typer
from rich.console import Console

from cli.log_lines import COLOURS, Line, LogFolder, level_of, render
from cli.running import no_stack, state_settings
from tasks.errors import NotFound
from tasks.outside_text import utf8

LOOK_EVERY = 0.3  # s, while following


def logs(
    what: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|REQUEST_ID", help="A model, or a request id or its first 8 characters."
        ),
    ],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Follow new lines until Ctrl-C.")
    ] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Number of past lines.")] = 200,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the JSON lines of the files.")
    ] = False,
) -> None:
    """Shows what a model, or one request, printed and logged."""
    settings = state_settings()
    folder = settings.state_dir / "logs"
    if not folder.is_dir():
        raise no_stack(settings, "There are no logs in")
    reader = LogFolder(folder, what)
    past = reader.past(lines)
    if not past and lines and not follow:
        known = ", ".join(reader.models()) or "none"
        raise NotFound(f"{folder} has no lines about {what!r} (models there: {known}).")
    show = Printer(as_json)
    for line in past:
        show(line)
    never = threading.Event()
    try:
        while follow:
            for line in reader.fresh():
                show(line)
            never.wait(LOOK_EVERY)
    except KeyboardInterrupt:
        return


class Printer:
    """Writes lines to stdout, wrapped and coloured for a terminal."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._console = Console(highlight=False)
        self._width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        self._day = date.today()

    def __call__(self, line: Line) -> None:
        """Prints a line. The date is printed first when it changes."""
        if self._as_json:
            print(line.raw, flush=True)
            return
        day = line.at.astimezone().date() if line.at else self._day
        if day != self._day:
            self._day = day
            self._console.print(f"-- {day}", style="dim")
        style = COLOURS.get(level_of(line))
        self._console.print(
            utf8(render(line, self._width)), style=style, markup=False, soft_wrap=True
        )

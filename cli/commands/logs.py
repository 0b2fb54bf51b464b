"""`kingpost logs`: shows what a model or a request logged, from the log store of a server or the log files of `kingpost up`."""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cli.client.choosing import chosen_client
from cli.log_lines import COLOURS, RANKS, Line, Wanted, level_of, render
from tasks.errors import NotFound, SettingsError
from tasks.outside_text import utf8

if TYPE_CHECKING:
    from kingpost import Client

REQUEST_ID = re.compile(r"[0-9a-f]{8,40}")  # or its beginning
AGO = re.compile(r"([0-9]{1,9})\s*([smhd])")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LONGEST_AGO = timedelta(days=3650)  # a longer one would lead before the first year


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
    level: Annotated[
        str, typer.Option(help="Only lines of this level and worse: debug, info, warning, error.")
    ] = "debug",
    since: Annotated[
        str | None, typer.Option(help="Only lines since then: 10m, 2h, 1d or 2026-01-31T12:00.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the JSON lines as they were logged.")
    ] = False,
) -> None:
    """Shows what a model, or one request, printed and logged."""
    if level not in RANKS:
        raise SettingsError(f"--level is one of {', '.join(RANKS)}, not {level!r}.")
    wanted = Wanted(what, RANKS[level], _since(since) if since else None)
    server, show = chosen_client(), Printer(as_json)
    try:
        if server:
            with server:
                _show_from_server(server, wanted, level, lines, follow, show)
        else:
            from cli.local.logs import show_files

            show_files(wanted, lines, follow, show)
    except KeyboardInterrupt:
        return


def _show_from_server(
    server: "Client", wanted: Wanted, level: str, count: int, follow: bool, show: "Printer"
) -> None:
    shown = 0
    for line in _lines_from(server, wanted, level, count, follow):
        show(line)
        shown += 1
    if not shown and count:
        raise NotFound(f"{server.server.url} keeps no {wanted.words}.")


def _lines_from(
    server: "Client", wanted: Wanted, level: str, count: int, follow: bool
) -> Iterator[Line]:
    is_request = _is_request(server, wanted.what)
    found = server.logs(
        None if is_request else wanted.what,
        request_id=wanted.what if is_request else None,
        level=level,
        since=wanted.since,
        limit=count,
        follow=follow,
    )
    for line in found:
        yield Line(json.dumps(line.fields), dict(line.fields))


def _is_request(server: "Client", what: str) -> bool:
    """Whether that is a request id. A model may have a name that looks like one."""
    if not REQUEST_ID.fullmatch(what):
        return False
    return all(what not in (model.name, model.id) for model in server.models.list())


def _since(said: str) -> datetime:
    """The time that `--since` names: an age, or ISO 8601, without a zone in that of this machine. Raises SettingsError."""
    if ago := AGO.fullmatch(said.strip()):
        past = timedelta(seconds=int(ago[1]) * SECONDS[ago[2]])
        return datetime.now(UTC) - min(past, LONGEST_AGO)
    try:
        return datetime.fromisoformat(said).astimezone(UTC)
    except (ValueError, OverflowError):
        raise SettingsError(f"--since is like 10m, 2h, 1d or 2026-01-31T12:00, not {said!r}.") from None  # fmt: skip


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

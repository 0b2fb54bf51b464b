"""`kingpost top`: models, queues, replicas and nodes, again and again."""

import json
import sys
import textwrap
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.live import Live
from rich.text import Text

from cli.client.choosing import client
from cli.live.keyboard import single_keys
from cli.live.nodes import HEAD, in_short, notes
from cli.options import AsJson
from cli.tables import lines, status_word
from kingpost.errors import Unavailable, Unreachable

if TYPE_CHECKING:
    from kingpost import Client
    from kingpost.operating import Node, Work

MODELS = ("model", "deployment", "status", "queued", "running", "ready", "serves")


def top(
    every: Annotated[
        float, typer.Option(min=0.5, max=3600, help="Seconds between two looks.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, without a live view.")] = False,
    as_json: AsJson = False,
) -> None:
    """Shows models, queues, replicas and nodes, live until q or Ctrl-C."""
    with client() as server:
        if as_json:
            said = {"deployments": server.overview(), "nodes": server.nodes()}
            print(json.dumps({name: [row.raw for row in rows] for name, rows in said.items()}))
        elif once or not sys.stdout.isatty():
            console = Console()
            print("\n".join(picture(server, console.width)))
        else:
            _live(server, every)


def _live(server: "Client", every: float) -> None:
    """Draws on the terminal's second screen, and leaves the first as it was. While the server does not answer, the last picture stays."""
    console = Console()
    shown: list[str] = []
    with Live(console=console, screen=True, auto_refresh=False) as live, single_keys() as pressed:
        try:
            ended = False
            while not ended:
                shown, trouble = _look(server, console.width, shown)
                live.update(_fitted([*trouble, *shown], console), refresh=True)
                ended = pressed(b"q", every)
        except KeyboardInterrupt:
            return


def _look(server: "Client", width: int, before: list[str]) -> tuple[list[str], list[str]]:
    """The lines of a new look, and none; or the lines `before`, and why the server does not answer."""
    try:
        return picture(server, width), []
    except (Unreachable, Unavailable) as error:
        return before, [f"{error} Trying again."]


def _fitted(shown: Sequence[str], console: Console) -> Text:
    """As much as the terminal has room for; the last line says what is missing."""
    height, width = max(console.height, 2), console.width
    kept = list(shown)
    if len(kept) > height:
        kept = [*kept[: height - 1], f"... {len(kept) - height + 1} lines more: --once shows all"]
    return Text("\n".join(set_cell_size(line, width).rstrip() for line in kept), no_wrap=True)


def picture(server: "Client", width: int) -> list[str]:
    """The lines of one look, each at most `width` columns wide."""
    work, machines = server.overview(), server.nodes()
    shown = [*_summary(server.server.url, work, machines, width), ""]
    if work:
        shown += lines(MODELS, [_row(each) for each in work], width)
    else:
        shown.append("No model is deployed yet: `kingpost push DIR`.")
    if machines:
        shown += ["", *lines(HEAD, in_short(machines), width, [notes(each) for each in machines])]
    return shown


def _summary(url: str, work: "Sequence[Work]", machines: "Sequence[Node]", width: int) -> list[str]:
    """A line of figures, with the address of the server at its end, or below it if both have no room."""
    queued, running = sum(each.queued for each in work), sum(each.running for each in work)
    ready = sum(each.ready_replicas for each in work)
    up = sum(each.alive for each in machines)
    now = datetime.now().strftime("%H:%M:%S")
    figures = f"{now}  {queued} queued, {running} running, replicas ready: {ready}, nodes up: {up}"
    line = f"{figures}  {url}"
    return [line] if cell_len(line) <= width else [*textwrap.wrap(figures, width), url]


def _row(each: "Work") -> tuple[str, ...]:
    status = "PAUSED" if each.paused else status_word(each.status)
    ready = f"{each.ready_replicas}/{each.wanted_replicas}"
    serves = ", ".join(each.environments) or "-"
    return (
        each.model, each.deployment_id, status, str(each.queued), str(each.running), ready, serves
    )  # fmt: skip

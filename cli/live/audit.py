"""`kingpost audit`: who changed what."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from cli.client.choosing import client
from cli.client.filtering import WHEN, time_of
from cli.options import AsJson
from cli.tables import show

if TYPE_CHECKING:
    from kingpost.operating import AuditEntry

HEAD = ("when", "who", "action", "target")


def audit(
    since: Annotated[str | None, typer.Option(help=f"Since then: {WHEN}.")] = None,
    until: Annotated[str | None, typer.Option(help="Until then, likewise.")] = None,
    actor: Annotated[
        str | None, typer.Option(help="By the API key with this id, or by `command line`.")
    ] = None,
    action: Annotated[
        str | None, typer.Option(help="An action such as key.create, or a kind such as key.")
    ] = None,
    count: Annotated[int, typer.Option("-n", min=1, help="How many at most.")] = 20,
    export: Annotated[
        bool, typer.Option("--export", help="All entries as JSON lines, the newest first.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Shows who changed what, the newest first. It needs a key with the scope admin."""
    limit = None if export else count
    times = {"since": time_of("since", since), "until": time_of("until", until)}
    with client() as server:
        found = server.audit(**times, actor=actor, action=action, limit=limit)
        if export:
            for entry in found:
                print(json.dumps(entry.raw))
            return
        rows = list(found)
    if as_json:
        print(json.dumps([entry.raw for entry in rows]))
    elif rows:
        show(HEAD, [_row(entry) for entry in rows], [_refused(entry) for entry in rows])
    else:
        print("There are no such entries.")


def _row(entry: "AuditEntry") -> tuple[str, ...]:
    when = entry.at.astimezone().strftime("%m-%d %H:%M:%S") if entry.at else "-"
    return when, entry.name or entry.actor, entry.action, entry.target or "-"


def _refused(entry: "AuditEntry") -> list[str]:
    return [] if entry.result == "done" else [f"refused: {entry.result}"]

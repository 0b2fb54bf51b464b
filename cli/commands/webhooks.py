"""`kingpost webhooks`: lists webhooks that could not be delivered, and sends them again."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cli.client.filtering import BadFilter
from cli.client.operator import Operator, operator
from cli.client.webhooks import listen, send_test
from cli.options import AsJson
from cli.tables import show

if TYPE_CHECKING:
    from kingpost.operating import GivenUp

app = typer.Typer(
    no_args_is_help=True,
    help="Tries webhooks (listen, test), and manages those whose delivery was given up (list, resend).",
)
app.command()(listen)
app.command("test")(send_test)


@app.command("list")
def list_given_up(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most lines to show.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Lists the webhooks whose delivery was given up, latest first."""
    found = operator().webhooks(limit)
    if as_json:
        latest = [{k: v for k, v in asdict(row).items() if k != "raw"} for row in found.latest]
        said = {"pending": found.pending, "given_up": found.given_up, "latest": latest}
        print(json.dumps(said, default=str))
        return
    print(f"{found.pending} on their way, {found.given_up} given up.")
    if found.latest:
        head = ("request", "given up", "tries", "last answer", "endpoint")
        show(head, [_row(given_up) for given_up in found.latest])


@app.command()
def resend(
    request_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID...]", help="Ids of the requests.")
    ] = None,
    all_given_up: Annotated[
        bool, typer.Option("--all", help="All webhooks that were given up.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Sends webhooks of requests again, with as many attempts as at first."""
    if bool(request_ids) == all_given_up:
        raise BadFilter("Give the ids of requests, or --all for all webhooks that were given up.")
    where, sent = operator(), list[str]()
    for batch in _given_up(where) if all_given_up else [request_ids or []]:
        for request_id in batch:
            where.resend(request_id)
            sent.append(request_id)
            if not as_json:
                print(f"The webhook of {request_id} is on its way.")
    if as_json:
        print(json.dumps({"resent": sent}))
    elif not sent:
        print("No webhook was given up.")


def _given_up(where: Operator) -> Iterator[list[str]]:
    """The ids of requests whose webhooks were given up, up to 1000 at a time, each once.

    A webhook that is given up again while this runs is left to the next command.
    """
    seen = set[str]()
    while fresh := [r.request_id for r in where.webhooks(1000).latest if r.request_id not in seen]:
        seen.update(fresh)
        yield fresh


def _row(given_up: "GivenUp") -> tuple[str, ...]:
    at, last = given_up.given_up_at, given_up.attempts[-1] if given_up.attempts else {}
    when = at.strftime("%m-%d %H:%M") if at else "-"
    answer = str(last.get("status") or last.get("error") or "-")
    return given_up.request_id, when, str(len(given_up.attempts)), answer, given_up.url

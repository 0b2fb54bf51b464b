"""`kingpost webhooks`: lists webhooks that are not or could not be delivered, and sends them again."""

import json
import uuid
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.client.bulk import show_progress, telling_how_to_go_on
from cli.client.each import whole_ids
from cli.client.filtering import BadFilter
from cli.client.operator import Operator, operator
from cli.client.webhooks import listen, send_test
from cli.options import AsJson
from cli.tables import show

if TYPE_CHECKING:
    from kingpost.operating import GivenUp, OnItsWay

app = typer.Typer(
    no_args_is_help=True,
    help="Tries webhooks (listen, test), and manages those whose delivery was given up (list, resend).",
)
app.command()(listen)
app.command("test")(send_test)


@app.command("list")
def list_webhooks(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most lines of each list.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Lists the webhooks whose delivery was given up, latest first, and those on their way, next first."""
    found = operator().webhooks(limit)
    if as_json:
        lists = {"latest": found.latest, "on_their_way": found.on_their_way}
        said = {name: [_fields(row) for row in rows] for name, rows in lists.items()}
        counts = {"pending": found.pending, "given_up": found.given_up}
        print(json.dumps(counts | said, default=str))
        return
    print(f"{found.pending} on their way, {found.given_up} given up.")
    if found.latest:
        head = ("request", "given up", "tries", "last answer", "endpoint")
        show(head, [_row(row, row.given_up_at, "-") for row in found.latest])
    if found.on_their_way:
        head = ("request", "next try", "tries", "last answer", "endpoint")
        show(head, [_row(row, row.next_attempt_at, "now") for row in found.on_their_way])


@app.command()
def resend(
    request_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID...]", help="Ids of the requests, or their beginnings."),
    ] = None,
    all_given_up: Annotated[
        bool, typer.Option("--all", help="All webhooks that were given up.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count; with --all.")] = False,
    operation: Annotated[
        str | None, typer.Option(help="Name of the operation of --all; with the same, it goes on.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sends webhooks of requests again, with as many attempts as at first."""
    if bool(request_ids) == all_given_up:
        raise BadFilter("Give the ids of requests, or --all for all webhooks that were given up.")
    if request_ids and (dry_run or operation):
        raise BadFilter("--dry-run and --operation are for --all, not for ids.")
    where = operator()
    if all_given_up:
        _resend_all(where, dry_run, operation or uuid.uuid4().hex[:12], as_json)
        return
    ids = whole_ids(where.latest_requests, request_ids or ())
    for request_id in ids:
        where.resend(request_id)
        if not as_json:
            print(f"The webhook of {request_id} is on its way.")
    if as_json:
        print(json.dumps({"resent": ids}))


def _resend_all(where: Operator, dry_run: bool, operation: str, as_json: bool) -> None:
    """Counts, sends and says so. The exit code is 1 if something could not be sent."""
    *_, last = where.resend_all(True, operation)
    if last.matched and not dry_run:
        going = where.resend_all(False, operation)
        with telling_how_to_go_on(f"kingpost webhooks resend --all --operation {operation}"):
            last = show_progress(going, "sent", last.matched, as_json)
    if as_json:
        print(json.dumps({**last.raw, "dry_run": dry_run}))
    elif not last.matched:
        print("No webhook was given up.")
    elif dry_run:
        print(f"{_webhooks(last.matched)} given up; nothing was sent.")
    else:
        failed = f" {last.failed:,} had no request any more." if last.failed else ""
        print(f"{_webhooks(last.done)} sent again.{failed}")
    if last.failed:
        raise typer.Exit(1)


def _webhooks(count: int) -> str:
    return "1 webhook" if count == 1 else f"{count:,} webhooks"


def _row(row: "GivenUp | OnItsWay", at: datetime | None, without: str) -> tuple[str, ...]:
    last = row.attempts[-1] if row.attempts else {}
    when = at.astimezone().strftime("%m-%d %H:%M") if at else without
    answer = str(last.get("status") or last.get("error") or "-")
    return row.request_id, when, str(len(row.attempts)), answer, row.url


def _fields(row: "GivenUp | OnItsWay") -> dict[str, Any]:
    return {name: value for name, value in asdict(row).items() if name != "raw"}

"""Operations of `kingpost jobs` on all requests that match: counted first, confirmed, shown as they go, and continued."""

import json
import shlex
import sys
import uuid
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.client.choosing import client
from cli.client.filtering import BadFilter, Wanted, taking
from cli.options import AsJson
from kingpost.errors import Error

if TYPE_CHECKING:
    from kingpost.records import BulkProgress
    from kingpost.steering import Action

Ids = Annotated[
    list[str] | None, typer.Argument(metavar="[ID...]", help="Ids, instead of a filter.")
]
HOW: dict[str, tuple[Any, Any]] = {
    "all": (Annotated[bool, typer.Option("--all", help="All requests, without a filter.")], False),
    "dry_run": (Annotated[bool, typer.Option("--dry-run", help="Only count.")], False),
    "yes": (Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")], False),
    "operation": (
        Annotated[
            str | None,
            typer.Option(help="Name of the operation; with the same name and filter, it goes on."),
        ],
        None,
    ),
    "as_json": (AsJson, False),
}
COLUMNS = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn())  # fmt: skip
DONE = {"cancel": "canceled", "retry": "retried", "move": "moved", "purge": "deleted"}


@dataclass(frozen=True)
class How:
    """What the options of a command say beside the filter."""

    all: bool
    dry_run: bool
    yes: bool
    operation: str | None
    as_json: bool


steered = taking("how", HOW, lambda given: How(**given))


@dataclass(frozen=True)
class To:
    """Where a move leads."""

    level: int | None = None
    deployment: str | None = None

    def options(self) -> str:
        """The same as options for a shell."""
        level = [] if self.level is None else [f"--to-level {self.level}"]
        deployment = [f"--to-deployment {self.deployment}"] if self.deployment else []
        return " ".join(level + deployment)


NOWHERE = To()  # for actions that move nothing


def named(ids: Sequence[str] | None, wanted: Wanted, how: How) -> bool:
    """Whether the requests are named by ids. Raises BadFilter if it is not clear which ones are meant."""
    by_filter = wanted.is_given or how.all
    if bool(ids) == by_filter:
        what = "ids or a filter, not both" if ids else "ids, a filter such as --model, or --all"
        raise BadFilter(f"Give {what}.")
    if ids and (how.dry_run or how.operation):
        raise BadFilter("--dry-run and --operation are for a filter, not for ids.")
    return bool(ids)


def steer(action: "Action", wanted: Wanted, how: How, to: To = NOWHERE) -> None:
    """Counts what matches, asks, does it and says so. The exit code is 1 if something could not be done."""
    name = how.operation or uuid.uuid4().hex[:12]
    with client() as server:

        def going(dry_run: bool, operation: str | None = None) -> "Iterator[BulkProgress]":
            return server.jobs.bulk(
                action,
                all=how.all,
                dry_run=dry_run,
                operation=operation,
                to_priority=to.level,
                to_deployment=to.deployment,
                **wanted.filter(),
            )

        # Without a name, so that it does not count as part of the operation.
        *_, counted = going(dry_run=True)
        if how.dry_run or not counted.matched:
            _say(action, counted, how)
            return
        _confirm(action, counted.matched, how)
        with telling_how_to_go_on(_command_to_go_on(action, wanted, how, to, name)):
            last = show_progress(going(False, name), DONE[action], counted.matched, how.as_json)
    _say(action, last, how)
    if last.failed:
        raise typer.Exit(1)


def _confirm(action: str, count: int, how: How) -> None:
    if how.yes:
        return
    more = ", with all that is kept of them" if action == "purge" else ""
    question = f"{_requests(count)} match. {action.capitalize()} them{more}?"
    if not sys.stdin.isatty():
        raise BadFilter(f"{_requests(count)} match; add --yes to {action} them.")
    if not typer.confirm(question, err=True):
        raise typer.Exit(1)


def show_progress(
    going: "Iterable[BulkProgress]", verb: str, total: int, as_json: bool
) -> "BulkProgress":
    """Shows how far the operation has come, on stderr, and returns the last answer."""
    bars = Progress(*COLUMNS, console=Console(stderr=True), transient=True)
    task = bars.add_task(verb, total=total)
    last: BulkProgress | None = None
    with bars:
        for last in going:
            bars.update(task, completed=min(last.matched, total))
            if not bars.console.is_terminal and not last.finished and not as_json:
                print(f"{last.done} {verb}", file=sys.stderr, flush=True)
    assert last is not None  # an answer comes, or an error
    return last


@contextmanager
def telling_how_to_go_on(command: str) -> Generator[None]:
    """If the operation is cut off, says with which command it goes on."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"It stops half-way. To go on: {command}", err=True)
        raise
    except Error as error:
        raise Error(f"{str(error).rstrip('.')}. To go on: {command}") from error


def _command_to_go_on(action: str, wanted: Wanted, how: How, to: To, name: str) -> str:
    """The command that goes on with the operation."""
    words = [f"kingpost jobs {action}", wanted.options(), "--all" if how.all else "", to.options()]
    return " ".join(word for word in [*words, f"--operation {shlex.quote(name)}"] if word)


def _say(action: str, progress: "BulkProgress", how: How) -> None:
    if how.as_json:
        print(json.dumps({**progress.raw, "dry_run": how.dry_run}))
    elif how.dry_run:
        print(f"{_requests(progress.matched)} match; nothing was changed.")
    elif not progress.matched:
        print("No request matches.")
    else:
        failed = f" {progress.failed:,} could not be {DONE[action]}." if progress.failed else ""
        print(f"{_requests(progress.done)} {DONE[action]}.{failed}")


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count:,} requests"

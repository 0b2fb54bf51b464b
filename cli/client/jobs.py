"""`kingpost jobs`: lists, shows and follows requests, cancels them, runs them again, moves and deletes them."""

import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.client.bulk import How, Ids, To, named, steer, steered
from cli.client.choosing import client
from cli.client.each import canceled, each, moved, purged, retried, whole
from cli.client.filtering import BadFilter, Wanted, filtered
from cli.client.inputs import model_input, with_files
from cli.client.outputs import Out, finish
from cli.options import AsJson
from cli.tables import show
from tasks.outside_text import printable

if TYPE_CHECKING:
    from kingpost.records import Delivery, JobStatus, ListedJob, Model

app = typer.Typer(
    no_args_is_help=True,
    help="Lists, shows, follows, cancels, retries, moves and deletes requests.",
)
NO_WEBHOOK = (None, "", "NO_WEBHOOK_PROVIDED")  # values of `webhook_status`
RequestId = Annotated[str, typer.Argument(help="Id of the request, or its beginning.")]
# What `show` says after status and model, in this order; what is empty is left out.
SHOWN = (
    "deployment_id", "priority", "attempt", "queue_position",
    "waiting_for", "waiting_reason", "created_at", "load_began_at", "load_ended_at", "started_at", "finished_at", "predict_ms", "stopped_at",
    "stopped_by", "webhook_status", "retry_of", "retried_as",
)  # fmt: skip


class Order(StrEnum):
    """The order of a list."""

    NEWEST = "newest"
    NEXT = "next"


def _is_one_queue(wanted: Wanted) -> bool:
    """Whether it is about the queued requests of one model or deployment."""
    return wanted.status == ("QUEUED",) and bool(wanted.model or wanted.deployment)


@app.command("ls")
@filtered
def list_jobs(
    wanted: Wanted,
    count: Annotated[int, typer.Option("-n", min=1, help="How many at most.")] = 20,
    order: Annotated[
        Order | None,
        typer.Option(
            help="`newest` first, or `next`: queued ones as they will run. The default is next for --status QUEUED with a model or a deployment, else newest."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Lists your requests, newest first; for a key with the scope admin, those of all keys."""
    chosen = order or (Order.NEXT if _is_one_queue(wanted) else Order.NEWEST)
    with client() as server:
        found = list(server.jobs.every(limit=count, order=chosen.value, **wanted.filter()))
        names = _names_by_id(server.models.list()) if found and not as_json else {}
    if as_json:
        print(json.dumps([job.raw for job in found]))
    elif found:
        show(*_table(found, names))
    else:
        print("There are no such requests.")


@app.command("show")
def show_job(request_id: RequestId, as_json: AsJson = False) -> None:
    """Shows the status of a request, and why it waits or failed."""
    with client() as server:
        job = server.jobs.get(whole(server, request_id))
        found = job.status()
        hook = job.webhook() if found.webhook_status not in NO_WEBHOOK and not as_json else None
        names = {} if as_json else _names_by_id(server.models.list())
    if as_json:
        print(json.dumps(found.raw))
    else:
        _print_status(found, names)
        if hook and hook.attempts:
            print(_last_attempt(hook))


@app.command()
def watch(request_id: RequestId, as_json: AsJson = False) -> None:
    """Follows a request until it is final. The exit code is 1 if it has no result."""
    from cli.client.following import follow

    with client() as server:
        job = server.jobs.get(whole(server, request_id))
        follow(job, as_json=as_json)
        found = job.status()
        names = {} if as_json else _names_by_id(server.models.list())
    if not as_json:
        _print_status(found, names)
    if not found.has_result:
        raise typer.Exit(1)


@app.command()
def result(request_id: RequestId, out: Out = None, as_json: AsJson = False) -> None:
    """Waits for a request and shows its output."""
    with client() as server:
        job = server.jobs.get(whole(server, request_id))
        finish(job.output(), out, as_json, server, job.id)


@app.command("input")
def show_input(request_id: RequestId, out: Out = None, as_json: AsJson = False) -> None:
    """Shows the input of a request, while it is kept."""
    with client() as server:
        job = server.jobs.get(whole(server, request_id))
        finish(job.input_as_sent(), out, as_json, server, job.id)


@app.command()
@filtered
@steered
def cancel(
    wanted: Wanted,
    how: How,
    request_ids: Ids = None,
) -> None:
    """Cancels requests, also those that run: by their ids, or all that match. The exit code is 1 if one could not be cancelled."""
    if not named(request_ids, wanted, how):
        steer("cancel", wanted, how)
        return
    with client() as server:
        each(server, request_ids, how.as_json, canceled)


@app.command()
@filtered
@steered
def retry(
    wanted: Wanted,
    how: How,
    request_ids: Ids = None,
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            metavar="KEY=VALUE|@FILE.json",
            help="With ids: change a part of the input, as for predict.",
        ),
    ] = None,
    edit: Annotated[
        bool, typer.Option("--edit", help="With ids: change the input in $EDITOR first.")
    ] = False,
) -> None:
    """Runs final requests again as new ones, with the same input or a changed one: by their ids, or all that match."""
    if not named(request_ids, wanted, how):
        if given or edit:
            raise BadFilter("--input and --edit are for ids, not for a filter.")
        steer("retry", wanted, how)
        return
    change = model_input(given) if given else None
    with client() as server:
        change = with_files(change, server)
        each(server, request_ids, how.as_json, lambda job: retried(job, change, edit))


@app.command()
@filtered
@steered
def move(
    wanted: Wanted,
    how: How,
    request_ids: Ids = None,
    to_level: Annotated[
        int | None, typer.Option(min=0, max=2, help="The new priority; 0 is the most urgent.")
    ] = None,
    to_deployment: Annotated[
        str | None, typer.Option(help="Id of another deployment of the same model.")
    ] = None,
) -> None:
    """Moves queued requests to another priority or deployment: by their ids, or all that match."""
    if to_level is None and to_deployment is None:
        raise BadFilter("Say --to-level, --to-deployment or both.")
    if not named(request_ids, wanted, how):
        steer("move", wanted, how, To(to_level, to_deployment))
        return
    with client() as server:
        to = To(to_level, to_deployment)
        each(server, request_ids, how.as_json, lambda job: moved(job, to))


@app.command()
@filtered
@steered
def purge(
    wanted: Wanted,
    how: How,
    request_ids: Ids = None,
) -> None:
    """Deletes requests before their time, with inputs, outputs, events, webhooks and log lines: by their ids, or all that match. Those that are not final are cancelled."""
    if not named(request_ids, wanted, how):
        steer("purge", wanted, how)
        return
    with client() as server:
        each(server, request_ids, how.as_json, purged)


def _table(
    jobs: "Sequence[ListedJob]", names: Mapping[str, str]
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Head and rows of the table. It has a column of keys if there are several."""
    now, several = datetime.now(UTC), len({job.key for job in jobs}) > 1
    rows = [
        (
            job.request_id,
            job.status,
            str(job.priority),
            _age(job.created_at, now),
            *([job.key] if several else []),
            names.get(job.model_id, job.model_id),
        )
        for job in jobs
    ]
    key = ("key",) if several else ()
    return ("request", "status", "level", "age", *key, "model"), rows


def _age(at: datetime | None, now: datetime) -> str:
    """How long ago that was, in the largest whole unit."""
    if at is None:
        return "-"
    seconds = max(int((now - at).total_seconds()), 0)
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _about(seconds: float) -> str:
    """An estimated duration with two digits, because it is no more exact than that."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"about {seconds / size:.2g} {unit}"
    return f"about {seconds:.2g} s"


def _names_by_id(models: "list[Model] | Any") -> dict[str, str]:
    """The names of models by id; a further name that a model serves has no id."""
    return {model.id: model.name for model in models if model.id}


def _print_status(found: "JobStatus", names: Mapping[str, str]) -> None:
    print(f"{found.request_id}\n  status: {found.status}")
    kind, known = ("chain", found.chain_id) if found.chain_id else ("model", found.model_id)
    if known:  # without a known name, the id is shown alone
        shown = f"{printable(names[known])} ({known})" if known in names else known
        print(f"  {kind}: {shown}")
    for name in SHOWN:
        value = getattr(found, name)
        if value not in (None, ""):
            shown = _time(value) if isinstance(value, datetime) else str(value)
            print(f"  {name.removesuffix('_at').replace('_', ' ')}: {printable(shown)}")
    if found.waiting_for == "paused":
        print(f"  resume: kingpost resume {shlex.quote(names.get(known or '', known or ''))}")
    if found.eta_seconds is not None:
        print(f"  done in: {_about(found.eta_seconds)}")
    if found.progress and not found.is_final:
        print(
            f"  progress: {found.progress.fraction:.0%} {printable(found.progress.message or '')}"
        )
    for error in found.errors:
        print(f"  error: {error.code}: {printable(error.message)}")
    if found.has_result:
        print(f"  result: kingpost jobs result {found.request_id}")


def _last_attempt(hook: "Delivery") -> str:
    """The last attempt to deliver a webhook, in a line."""
    last = hook.attempts[-1]
    what = last.get("error") or f"answered {last.get('status')}"
    following = (
        f"; the next one is due {_time(hook.next_attempt_at)}" if hook.next_attempt_at else ""
    )
    return f"  webhook attempt {len(hook.attempts)}: {printable(str(what))}{following}"


def _time(at: datetime | None) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else "-"

"""`kingpost jobs`: lists, shows, follows and cancels requests."""

import json
from collections.abc import Mapping
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.client.choosing import client
from cli.client.outputs import Out, finish
from cli.options import AsJson
from cli.tables import show
from tasks.outside_text import printable

if TYPE_CHECKING:
    from kingpost.records import JobStatus, ListedJob, Model

app = typer.Typer(no_args_is_help=True, help="Lists, shows, follows and cancels requests.")
RequestId = Annotated[str, typer.Argument(help="Id of the request.")]
# What `show` says of a status, in this order; what is empty is left out.
SHOWN = (
    "status", "model_id", "chain_id", "deployment_id", "priority", "attempt", "queue_position", "eta_seconds",
    "waiting_for", "waiting_reason", "created_at", "started_at", "finished_at", "predict_ms", "stopped_at",
    "stopped_by", "webhook_status",
)  # fmt: skip


@app.command("ls")
def list_jobs(
    status: Annotated[str | None, typer.Option(help="Only this status, such as QUEUED.")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model, by name or id.")] = None,
    count: Annotated[int, typer.Option("-n", min=1, help="How many at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Lists your requests, newest first."""
    with client() as server:
        wanted = status.upper() if status else None
        found = list(islice(server.jobs.every(status=wanted, model=model), count))
        names = _names(server.models.list()) if found and not as_json else {}
    if as_json:
        print(json.dumps([job.raw for job in found]))
    elif found:
        show(("request", "status", "level", "sent", "model"), [_row(job, names) for job in found])
    else:
        print("There are no such requests.")


@app.command("show")
def show_job(request_id: RequestId, as_json: AsJson = False) -> None:
    """Shows the status of a request, and why it waits or failed."""
    with client() as server:
        found = server.jobs.get(request_id).status()
    if as_json:
        print(json.dumps(found.raw))
    else:
        _say(found)


@app.command()
def watch(request_id: RequestId, as_json: AsJson = False) -> None:
    """Follows a request until it is final. The exit code is 1 if it has no result."""
    from cli.client.following import follow

    with client() as server:
        job = server.jobs.get(request_id)
        follow(job, as_json=as_json)
        found = job.status()
    if not as_json:
        _say(found)
    if not found.has_result:
        raise typer.Exit(1)


@app.command()
def result(request_id: RequestId, out: Out = None, as_json: AsJson = False) -> None:
    """Waits for a request and shows its output."""
    with client() as server:
        finish(server.jobs.get(request_id).output(), out, as_json, request_id)


@app.command()
def cancel(
    request_ids: Annotated[list[str], typer.Argument(help="Ids of the requests.")],
    as_json: AsJson = False,
) -> None:
    """Cancels requests, also those that run. The exit code is 1 if one could not be cancelled."""
    with client() as server:
        done = [server.jobs.get(request_id).cancel() for request_id in request_ids]
    if as_json:
        print(json.dumps([entry.raw for entry in done]))
    else:
        for entry in done:
            print(f"{entry.request_id}: {entry.message}")
    if not all(entry.canceled for entry in done):
        raise typer.Exit(1)


def _row(job: "ListedJob", names: Mapping[str, str]) -> tuple[str, ...]:
    sent = _time(job.created_at)
    model = names.get(job.model_id, job.model_id)
    return job.request_id, job.status, str(job.priority), sent, model


def _names(models: "list[Model] | Any") -> dict[str, str]:
    """The names of models by id, as far as the key learns ids."""
    return {model.id: model.name for model in models if model.id}


def _say(found: "JobStatus") -> None:
    print(found.request_id)
    for name in SHOWN:
        value = getattr(found, name)
        if value not in (None, ""):
            shown = _time(value) if isinstance(value, datetime) else str(value)
            print(f"  {name.removesuffix('_at').replace('_', ' ')}: {printable(shown)}")
    if found.progress and not found.is_final:
        print(
            f"  progress: {found.progress.fraction:.0%} {printable(found.progress.message or '')}"
        )
    for error in found.errors:
        print(f"  error: {error.code}: {printable(error.message)}")
    if found.has_result:
        print(f"  result: kingpost jobs result {found.request_id}")


def _time(at: datetime | None) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else "-"

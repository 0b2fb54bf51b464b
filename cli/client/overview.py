"""`kingpost status` and `kingpost queue`: what a server does."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cli.client.choosing import client
from cli.client.predict import DeploymentId, Environment, Model
from cli.options import AsJson
from cli.tables import last_line, show, status_word
from kingpost.errors import Forbidden, NotFound

if TYPE_CHECKING:
    from kingpost import Client


def queue(
    model: Model,
    environment: Environment = None,
    deployment: DeploymentId = None,
    as_json: AsJson = False,
) -> None:
    """Shows how many requests of a model wait and run."""
    with client() as server:
        found = server.queue(model, environment=environment, deployment=deployment)
    if as_json:
        print(json.dumps(found.raw))
        return
    waiting, running = found.num_queued_requests, found.num_in_progress_requests
    print(f"{model}, deployment {found.deployment_id}: {waiting} queued, {running} running")


def status(as_json: AsJson = False) -> None:
    """Shows the server, its models and their queues."""
    with client() as server:
        rows = [_row(server, model.name) for model in server.models.list()]
        chosen = server.server
    if as_json:
        print(json.dumps({"url": chosen.url, "context": chosen.context or None, "models": rows}))
        return
    context = f" (context {chosen.context})" if chosen.context else ""
    print(f"{chosen.url}{context} answers.")
    if not rows:
        print("No model is deployed yet: `kingpost push DIR`.")
        return
    head = ("model", "deployment", "status", "ready", "queued", "running")
    show(head, [_cells(row, head) for row in rows], [_remarks(row) for row in rows])


def _cells(row: Mapping[str, Any], head: Sequence[str]) -> list[str]:
    status = "PAUSED" if row["paused"] else row["status"] and status_word(row["status"])
    shown = {**row, "status": status}
    return ["-" if shown[name] is None else str(shown[name]) for name in head]


def _remarks(row: Mapping[str, Any]) -> list[str]:
    held = f"its queue waits for: kingpost resume {shlex.quote(row['model'])}"
    said = [row["reason"], held if row["paused"] else None]
    return [remark for remark in said if remark]


def _row(server: "Client", model: str) -> dict[str, Any]:
    """The production of a model; what the key may not know is None."""
    row: dict[str, Any] = dict.fromkeys(
        ("model", "deployment", "status", "ready", "queued", "running", "paused", "reason")
    )
    row["model"] = model
    try:
        queue = server.queue(model)
        row |= {"queued": queue.num_queued_requests, "running": queue.num_in_progress_requests}
        row["deployment"] = queue.deployment_id
        found = server.deployments.get(model)
        row |= {"status": found.status, "ready": found.active_replica_count, "paused": found.paused}
        row["reason"] = last_line(found.status_reason) if found.status_reason else None
    except (Forbidden, NotFound):
        pass  # the key is for inference alone, or nothing is in production
    return row

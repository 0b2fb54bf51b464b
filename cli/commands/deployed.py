"""`kingpost deployments` and `rm`: show what is deployed, where it runs and how it does, and delete it."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cli.client.choosing import chosen_client, client
from cli.commands.shown import DeploymentLine, pointing
from cli.options import AsJson, say
from cli.tables import last_line, show, status_word
from kingpost.errors import Error

if TYPE_CHECKING:
    from kingpost import Client


class NotConfirmed(Error):
    """Deleting needs a yes, and there is no terminal to ask at."""


def deployments(
    model: Annotated[str | None, typer.Argument(help="Only this model, by name or id.")] = None,
    as_json: AsJson = False,
) -> None:
    """Shows every deployment: status, replicas, environments, and why it does not run."""
    client = chosen_client()
    found = _on_server(client, model) if client else _on_store(model)
    if as_json:
        print(json.dumps([asdict(line) for line in found]))
        return
    if not found:
        print("Nothing is deployed yet: `kingpost push DIR`.")
        return
    head = ("model", "deployment", "status", "replicas", "environments")
    rows = [
        (
            line.model, line.deployment, status_word(line.status), f"{line.ready}/{line.wanted}",
            pointing(line.environments, line.candidate_for),
        )
        for line in found
    ]  # fmt: skip
    notes = [[*([line.reason] if line.reason else []), *line.warnings] for line in found]
    show(head, rows, notes)


def rm(
    model: Annotated[str, typer.Argument(help="A model's name or id.")],
    deployment: Annotated[
        str | None, typer.Option(help="Only the deployment with this id.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also with requests, which are cancelled.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Deletes a model with all its deployments, or one of them. Requests, or an environment that points at a deployment, need --force."""
    with client() as server:
        known = server.models.get(model)
        count = len(server.deployments.list(known.id))
        what = f"the deployment {deployment} of {known.name}"
        if deployment is None:
            many = "1 deployment" if count == 1 else f"{count} deployments"
            what = f"the model {known.name} with {many}"
        more = " and cancel its requests" if force else ""
        if not yes and not sys.stdin.isatty():
            raise NotConfirmed(f"This would delete {what}{more}; add --yes.")
        if not yes and not typer.confirm(f"Delete {what}{more}?", err=True):
            raise typer.Exit(1)
        if deployment is None:
            canceled = server.models.delete(known.id, force=force)
        else:
            canceled = server.deployments.delete(known.id, deployment, force=force)
    gone = f"{what[0].upper()}{what[1:]} is deleted."
    said = f"{gone} Requests that were cancelled: {canceled}." if canceled else gone
    ids = {"model": known.name, "model_id": known.id, "deployment_id": deployment}
    say(as_json, said, **ids, deleted=True, canceled_requests=canceled)


def _on_store(model: str | None) -> list[DeploymentLine]:
    from cli.local.listing import deployments

    return deployments(model)


def _on_server(client: "Client", model: str | None) -> list[DeploymentLine]:
    models = [client.models.get(model)] if model else client.models.list()
    return [
        DeploymentLine(
            known.name,
            deployment.id,
            deployment.status,
            deployment.active_replica_count,
            deployment.wanted_replica_count,
            tuple(deployment.environments),
            tuple(deployment.candidate_for),
            last_line(deployment.status_reason) if deployment.status_reason else None,
            deployment.warnings,
        )
        for known in models
        for deployment in client.deployments.list(known.name)
    ]

"""`kingpost deployments`: shows what is deployed, where it runs and how it does."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cli.client.choosing import chosen_client
from cli.commands.shown import DeploymentLine, pointing
from cli.options import AsJson
from cli.tables import last_line, show

if TYPE_CHECKING:
    from kingpost import Client


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
        (line.model, line.deployment, line.status, f"{line.ready}/{line.wanted}", line.environments)
        for line in found
    ]
    notes = [[*([line.reason] if line.reason else []), *line.warnings] for line in found]
    show(head, rows, notes)


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
            pointing(deployment.environments, deployment.candidate_for),
            last_line(deployment.status_reason) if deployment.status_reason else None,
            deployment.warnings,
        )
        for known in models
        for deployment in client.deployments.list(known.name)
    ]

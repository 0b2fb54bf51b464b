"""`kingpost deployments`: shows what is deployed, where it runs and how it does."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from cli.client.choosing import chosen_client
from cli.options import AsJson
from cli.running import current_settings
from cli.tables import last_line, show
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment, Environment, Replica
from deployments.registry.statuses import status_of
from tasks.store.job_store import JobStore

if TYPE_CHECKING:
    from kingpost import Client


@dataclass(frozen=True)
class Line:
    """One deployment as it is shown."""

    model: str
    deployment: str
    status: str
    ready: int
    wanted: int
    environments: str
    reason: str | None
    warnings: tuple[str, ...]


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


def _on_server(client: "Client", model: str | None) -> list[Line]:
    models = [client.models.get(model)] if model else client.models.list()
    return [
        Line(
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


def _on_store(model: str | None) -> list[Line]:
    store = JobStore(current_settings())
    models = {model.id: model for model in store.run(registry.models())}
    if model:
        wanted = store.run(registry.model(model)).id
        models = {wanted: models[wanted]}
    replicas: dict[str, list[Replica]] = defaultdict(list)
    for replica in store.run(registry.replicas()):
        replicas[replica.deployment_id].append(replica)
    known = store.run(registry.deployments())
    return [
        Line(
            deployment.model_name,
            deployment.id,
            status.name,
            status.ready,
            deployment.wanted,
            pointing_at(deployment, models[deployment.model_id].environments.values()),
            last_line(status.reason) if status.reason else None,
            deployment.warnings,
        )
        for deployment in known
        if deployment.model_id in models
        for status in [status_of(deployment, replicas[deployment.id])]
    ]


def pointing_at(deployment: Deployment, environments: Iterable[Environment]) -> str:
    """The environments of its model that point at a deployment, and those that will; `-` for none."""
    known = list(environments)
    now = [at.name for at in known if at.deployment_id == deployment.id]
    return pointing(now, [at.name for at in known if at.candidate == deployment.id])


def pointing(now: Sequence[str], soon: Sequence[str]) -> str:
    """Environments in a column of a table."""
    return ", ".join([*now, *(f"({name} soon)" for name in soon)]) or "-"

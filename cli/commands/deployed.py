"""`kingpost deployments`: shows what is deployed, where it runs and how it does."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Annotated

import typer

from cli.running import current_settings
from cli.stack.readiness import last_line
from cli.tables import show
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment, Environment, Replica
from deployments.registry.statuses import status_of
from tasks.store.job_store import JobStore


def deployments(
    model: Annotated[str | None, typer.Argument(help="Only this model, by name or id.")] = None,
) -> None:
    """Shows every deployment: status, replicas, environments, and why it does not run."""
    store = JobStore(current_settings())
    models = {model.id: model for model in store.run(registry.models())}
    if model:
        wanted = store.run(registry.model(model)).id
        models = {wanted: models[wanted]}
    replicas: dict[str, list[Replica]] = defaultdict(list)
    for replica in store.run(registry.replicas()):
        replicas[replica.deployment_id].append(replica)
    known = store.run(registry.deployments())
    found = [deployment for deployment in known if deployment.model_id in models]
    if not found:
        print("Nothing is deployed yet: `kingpost push DIR`.")
        return
    head = ("model", "deployment", "status", "replicas", "environments")
    rows: list[tuple[str, ...]] = []
    notes: list[list[str]] = []
    for deployment in found:
        status = status_of(deployment, replicas[deployment.id])
        count = f"{status.ready}/{deployment.wanted}"
        environments = pointing_at(deployment, models[deployment.model_id].environments.values())
        rows.append((deployment.model_name, deployment.id, status.name, count, environments))
        said = [last_line(status.reason)] if status.reason else []
        notes.append([*said, *deployment.warnings])
    show(head, rows, notes)


def pointing_at(deployment: Deployment, environments: Iterable[Environment]) -> str:
    """The environments of its model that point at a deployment, and those that will; `-` for none."""
    known = list(environments)
    names = [at.name for at in known if at.deployment_id == deployment.id]
    names += [f"({at.name} soon)" for at in known if at.candidate == deployment.id]
    return ", ".join(names) or "-"

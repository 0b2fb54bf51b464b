"""`kingpost deployments`: what is deployed, where it runs and how it is."""

from collections import defaultdict
from typing import Annotated

import typer

from cli.running import current_settings
from cli.stack.readiness import last_line
from cli.tables import show
from deployments.registry.directory import Directory, Replica
from deployments.registry.registry import Deployment, Model, Registry
from deployments.registry.statuses import status_of


def deployments(
    model: Annotated[str | None, typer.Argument(help="Only this model's.")] = None,
) -> None:
    """Shows every deployment: status, environments, replicas, load."""
    settings = current_settings()
    registry = Registry(settings)
    models = {one.id: one for one in registry.models()}
    if model:
        wanted = registry.model(model).id
        models = {wanted: models[wanted]}
    replicas: dict[str, list[Replica]] = defaultdict(list)
    for one in Directory(settings).all():
        replicas[one.deployment_id].append(one)
    found = [one for one in registry.all() if one.model_id in models]
    if not found:
        print("Nothing is deployed yet: `kingpost push DIR`.")
        return
    head = ("model", "deployment", "status", "replicas", "environments")
    rows: list[tuple[str, ...]] = []
    notes: list[list[str]] = []
    for one in found:
        status = status_of(one, replicas[one.id])
        count = f"{status.ready}/{one.wanted}"
        environments = _names(models[one.model_id], one)
        rows.append((one.model_name, one.id, status.word, count, environments))
        said = [last_line(status.reason)] if status.reason else []
        notes.append([*said, *one.warnings])
    show(head, rows, notes)


def _names(model: Model, deployment: Deployment) -> str:
    names = [one.name for one in model.environments.values() if one.deployment_id == deployment.id]
    names += [
        f"({one.name} soon)"
        for one in model.environments.values()
        if one.candidate == deployment.id
    ]
    return ", ".join(names) or "-"

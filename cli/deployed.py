"""`kingpost deployments`: what is deployed, where it runs and how it is."""

from collections import defaultdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.running import current_settings
from deployments.directory import Directory, Replica
from deployments.registry import Deployment, Model, Registry
from deployments.statuses import status_of


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
    table = Table("model", "deployment", "status", "environments", "replicas", box=None)
    reasons: list[str] = []
    for one in found:
        status = status_of(one, replicas[one.id])
        count = f"{status.ready}/{one.wanted}"
        table.add_row(one.model_name, one.id, status.word, _names(models[one.model_id], one), count)
        if status.reason:
            reasons.append(f"{one.model_name} {one.id}: {status.reason}")
        reasons += [f"{one.model_name} {one.id}: {warning}" for warning in one.warnings]
    Console().print(table)
    for reason in reasons:
        print(reason)


def _names(model: Model, deployment: Deployment) -> str:
    names = [one.name for one in model.environments.values() if one.deployment_id == deployment.id]
    names += [
        f"({one.name} soon)"
        for one in model.environments.values()
        if one.candidate == deployment.id
    ]
    return ", ".join(names) or "-"

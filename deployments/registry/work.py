"""Deployments with what they do now: their replicas, their queues, and the environments that point at them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deployments.registry.directory import Directory
from deployments.registry.nodes import Heard, needs_node, nodes, why_unplaced
from deployments.registry.records import Deployment, Model, Replica
from deployments.registry.statuses import DeploymentStatus, status_of
from tasks.job import QueueStatus
from tasks.store import verbs
from tasks.store.job_store import AsyncJobStore


@dataclass(frozen=True)
class AtWork:
    """One deployment and its work. `environments` point at it, and those of `warming_for` will when it is warm."""

    deployment: Deployment
    status: DeploymentStatus
    queue: QueueStatus
    replicas: tuple[Replica, ...]
    environments: tuple[str, ...]
    warming_for: tuple[str, ...]

    @property
    def slots(self) -> int:
        """How many calls can run at once now."""
        return sum(replica.slots for replica in self.replicas if replica.state == "ready")

    @property
    def is_history(self) -> bool:
        """Whether an environment has left it, none points at it, and nothing of it runs or waits."""
        busy = self.replicas or self.queue.queued or self.queue.in_progress
        return self.deployment.retired and not (self.environments or self.warming_for or busy)


async def at_work(
    store: AsyncJobStore,
    directory: Directory,
    deployments: Sequence[Deployment],
    models: Mapping[str, Model],
) -> list[AtWork]:
    """These deployments, in their order; `models` are by id. Raises StoreUnavailable."""
    calls = [store.run(verbs.queue_status(deployment.id)) for deployment in deployments]
    queues = await asyncio.gather(*calls)
    of = {each.id: tuple(directory.of(each.id)) for each in deployments}
    heard: list[Heard] = []
    if any(needs_node(each, of[each.id]) for each in deployments):
        heard = await store.run(nodes())
    return [
        _row(deployment, queue, of[deployment.id], models.get(deployment.model_id), heard)
        for deployment, queue in zip(deployments, queues, strict=True)
    ]


def _row(
    deployment: Deployment,
    queue: QueueStatus,
    replicas: tuple[Replica, ...],
    model: Model | None,
    heard: Sequence[Heard],
) -> AtWork:
    known = model.environments.values() if model else ()
    now = sorted(at.name for at in known if at.deployment_id == deployment.id)
    soon = sorted(at.name for at in known if at.candidate == deployment.id)
    unplaced = why_unplaced(heard, deployment) if needs_node(deployment, replicas) else ""
    status = status_of(deployment, replicas, unplaced)
    return AtWork(deployment, status, queue, replicas, tuple(now), tuple(soon))

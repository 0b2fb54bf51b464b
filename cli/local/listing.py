"""`kingpost models` and `deployments` on the store of this machine."""

import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cli.commands.shown import HELD, PRODUCTION, DeploymentLine, ModelLine, pointing
from cli.running import current_settings
from cli.tables import last_line
from deployments.registry import verbs as registry
from deployments.registry.nodes import Heard, needs_node, nodes, why_unplaced
from deployments.registry.records import Deployment, Environment, Replica
from deployments.registry.statuses import status_of
from tasks.settings import Settings
from tasks.store import verbs
from tasks.store.job_store import JobStore

# The state of a deployment is the best of its replicas' states.
BEST_FIRST = ("ready", "unhealthy", "loading", "building", "failed", "draining")


@dataclass(frozen=True)
class Row:
    """One deployment with its replicas, its queue and the environments that point at it."""

    deployment: Deployment
    replicas: list[Replica]
    queued: int
    running: int
    leader: str = ""  # the chainlet in whose process it runs
    paused: bool = False
    unplaced: str = ""  # why no node has taken it
    serves: str = "-"  # production, else all environments that point at it

    @property
    def state(self) -> str:
        """The state in one word. When no replica reports, it is `inactive`, `asleep` or, if one is wanted, `stopped`."""
        states = {replica.state for replica in self.replicas}
        none = "stopped" if self.deployment.wanted else "asleep"
        none = "failed" if self.deployment.gave_up else none
        none = none if self.deployment.active else "inactive"
        state = next((state for state in BEST_FIRST if state in states), none)
        return "paused" if self.paused and state in HELD else state

    @property
    def slots(self) -> int:
        """How many calls can run at once now."""
        return sum(replica.slots for replica in self.replicas if replica.state == "ready")

    @property
    def line(self) -> ModelLine:
        """What is shown of it."""
        known = self.deployment
        ids = (known.model_name, known.model_id, known.id, self.serves)
        return ModelLine(*ids, self.state, self.slots, self.queued, self.running, self.remark)

    @property
    def is_history(self) -> bool:
        """Whether an environment has left it and nothing of it runs or waits."""
        busy = self.replicas or self.queued or self.running
        return self.deployment.retired and self.serves == "-" and not busy

    @property
    def remark(self) -> str | None:
        """A note below the model: why it is not loaded, what happens about it, or a limit of its config.yaml."""
        errors = [last_line(replica.error) for replica in self.replicas if replica.error]
        notes = [replica.note for replica in self.replicas if replica.note]
        kept = [last_line(self.deployment.failure)] if self.deployment.failure else []
        name = self.deployment.model_name
        paused = (
            [f"its queue waits for: kingpost resume {shlex.quote(name)}"] if self.paused else []
        )
        off = f"deactivated: kingpost activate {self.deployment.id}"
        inactive = [] if self.deployment.active else [off]
        shared = [f"in the process of {self.leader}"] if self.leader else []
        no_node = [self.unplaced] if self.unplaced else []
        limits = ["; ".join(self.deployment.warnings)] if self.deployment.warnings else []
        said = errors + notes + kept + paused + inactive + no_node + shared + limits
        return next(iter(said), None)


def read(settings: Settings) -> list[Row]:
    """The deployments that are not history: by model, production first, then the newest. Raises StoreUnavailable."""
    store = JobStore(settings)
    replicas: dict[str, list[Replica]] = defaultdict(list)
    for replica in store.run(registry.replicas()):
        replicas[replica.deployment_id].append(replica)
    deployments, heard = store.run(registry.deployments()), store.run(nodes())
    names = {deployment.id: deployment.model_name for deployment in deployments}
    models = {deployment.model_id for deployment in deployments}
    environments = {model: store.run(registry.environments(model)).values() for model in models}
    rows: list[Row] = []
    for deployment in deployments:
        queue = store.run(verbs.queue_status(deployment.id))
        now, soon = pointers(deployment, environments[deployment.model_id])
        serves = PRODUCTION if PRODUCTION in now else pointing(now, soon)
        leader = names.get(deployment.leader, "")
        of_it, counts = replicas[deployment.id], (queue.queued, queue.in_progress)
        unplaced = _unplaced(deployment, of_it, heard)
        rows.append(Row(deployment, of_it, *counts, leader, queue.paused, unplaced, serves))
    store.close()
    return sorted((row for row in rows if not row.is_history), key=_order)


def _order(row: Row) -> tuple[str, str, bool, int, str]:
    deployment = row.deployment
    model = (deployment.model_name, deployment.model_id)
    return (*model, row.serves != PRODUCTION, -deployment.created, deployment.id)


def deployments(model: str | None) -> list[DeploymentLine]:
    """Every deployment, or those of one model. Raises NotFound, NoStack and StoreUnavailable."""
    store = JobStore(current_settings())
    models = {model.id: model for model in store.run(registry.models())}
    if model:
        wanted = store.run(registry.model(model)).id
        models = {wanted: models[wanted]}
    replicas: dict[str, list[Replica]] = defaultdict(list)
    for replica in store.run(registry.replicas()):
        replicas[replica.deployment_id].append(replica)
    known, heard = store.run(registry.deployments()), store.run(nodes())
    return [
        DeploymentLine(
            deployment.model_name,
            deployment.id,
            status.name,
            status.ready,
            deployment.wanted,
            *pointers(deployment, models[deployment.model_id].environments.values()),
            last_line(status.reason) if status.reason else None,
            deployment.warnings,
        )
        for deployment in known
        if deployment.model_id in models
        for of_it in [replicas[deployment.id]]
        for status in [status_of(deployment, of_it, _unplaced(deployment, of_it, heard))]
    ]


def _unplaced(deployment: Deployment, replicas: Sequence[Replica], heard: Sequence[Heard]) -> str:
    return why_unplaced(heard, deployment) if needs_node(deployment, replicas) else ""


def pointers(
    deployment: Deployment, environments: Iterable[Environment]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The environments of its model that point at a deployment, and those that will."""
    known = list(environments)
    now = tuple(at.name for at in known if at.deployment_id == deployment.id)
    return now, tuple(at.name for at in known if at.candidate == deployment.id)

"""What the overview and the pages of models show: deployments with their replicas, queues, and what needs somebody."""

from collections.abc import Sequence
from dataclasses import dataclass

from api.console.sessions import Viewer
from api.gateway import Gateway
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment, Model, Replica
from deployments.registry.statuses import DeploymentStatus, status_of
from tasks.api_keys import sees_model_errors
from tasks.job import QueueStatus
from tasks.store import verbs
from tasks.webhooks import verbs as outbox

PRODUCTION = "production"


@dataclass(frozen=True)
class DeploymentRow:
    """One deployment. `reason` is why it does not run, or what it does meanwhile; '' = nothing to say."""

    deployment: Deployment
    status: DeploymentStatus
    queue: QueueStatus
    replicas: tuple[Replica, ...]
    environments: tuple[str, ...]
    warming_for: tuple[str, ...]
    reason: str

    @property
    def slots(self) -> int:
        """How many calls can run at once now."""
        return sum(replica.slots for replica in self.replicas if replica.state == "ready")

    @property
    def is_history(self) -> bool:
        """Whether no environment points at it and nothing of it runs or waits."""
        busy = self.replicas or self.queue.queued or self.queue.in_progress
        return self.deployment.retired and not (self.environments or self.warming_for or busy)


@dataclass(frozen=True)
class ModelRow:
    """A model with its deployments: what production points at first, then the newest."""

    model: Model
    deployments: tuple[DeploymentRow, ...]

    @property
    def queued(self) -> int:
        """Requests that wait, of all deployments."""
        return sum(row.queue.queued for row in self.deployments)

    @property
    def running(self) -> int:
        """Requests that run, of all deployments."""
        return sum(row.queue.in_progress for row in self.deployments)

    @property
    def ready(self) -> int:
        """Ready replicas of all deployments."""
        return sum(row.status.ready for row in self.deployments)

    @property
    def slots(self) -> int:
        """Calls that can run at once, of all deployments."""
        return sum(row.slots for row in self.deployments)

    @property
    def paused(self) -> bool:
        """Whether its queued requests are held back."""
        return any(row.queue.paused for row in self.deployments)

    @property
    def state(self) -> str:
        """The status of what serves production, else of the newest deployment."""
        return self.deployments[0].status.name if self.deployments else "EMPTY"

    @property
    def reason(self) -> str:
        """The first reason why something of it does not run."""
        return next((row.reason for row in self.deployments if row.reason), "")


@dataclass(frozen=True)
class Attention:
    """Something that somebody should look at: what, why, and the page where it can be seen or mended."""

    what: str
    why: str
    path: str


async def model_rows(gateway: Gateway, viewer: Viewer, only: str = "") -> list[ModelRow]:
    """The models that the viewer's key may use, by name; or only one, by id or name. Raises NotFound and StoreUnavailable."""
    known = await gateway.store.run(registry.models())
    allowed = set(viewer.key.models)
    models = [model for model in known if not allowed or {model.id, model.name} & allowed]
    if only:
        wanted = (await gateway.store.run(registry.model(only))).id
        models = [model for model in models if model.id == wanted]
    deployments = await gateway.store.run(registry.deployments())
    detailed = sees_model_errors(gateway.settings, viewer.key.scope)
    rows = [
        ModelRow(
            model,
            tuple(
                [
                    await _row(gateway, deployment, model, detailed)
                    for deployment in sorted(deployments, key=lambda found: -found.created)
                    if deployment.model_id == model.id
                ]
            ),
        )
        for model in models
    ]
    return sorted((_sorted(row) for row in rows), key=lambda row: row.model.name.lower())


def _sorted(row: ModelRow) -> ModelRow:
    serving = sorted(row.deployments, key=lambda found: PRODUCTION not in found.environments)
    return ModelRow(row.model, tuple(serving))


async def _row(
    gateway: Gateway, deployment: Deployment, model: Model, detailed: bool
) -> DeploymentRow:
    replicas = tuple(gateway.directory.of(deployment.id))
    status = status_of(deployment, replicas)
    reason = status.reason if detailed or status.name == "BUILDING" else ""
    return DeploymentRow(
        deployment,
        status,
        await gateway.store.run(verbs.queue_status(deployment.id)),
        replicas,
        tuple(at.name for at in model.environments.values() if at.deployment_id == deployment.id),
        tuple(at.name for at in model.environments.values() if at.candidate == deployment.id),
        reason,
    )


async def attention(gateway: Gateway, viewer: Viewer, rows: Sequence[ModelRow]) -> list[Attention]:
    """What needs somebody, most urgent first."""
    found: list[Attention] = []
    if trouble := await gateway.epoch.trouble():
        found.append(Attention("The store has lost data", str(trouble), "/ui"))
    for row in rows:
        path = f"/ui/models/{row.model.id}"
        for entry in row.deployments:
            if entry.status.name in ("DEPLOY_FAILED", "UNHEALTHY"):
                why = entry.reason.strip().splitlines()[-1] if entry.reason.strip() else ""
                what = f"{row.model.name} {entry.deployment.id} could not be loaded"
                found.append(Attention(what, why, path))
            waits = entry.queue.queued and not entry.deployment.active
            if waits:
                what = f"{entry.queue.queued} requests of {row.model.name} wait for a deployment that is not active"
                found.append(Attention(what, "Activate it, or move the requests.", path))
        if row.paused and row.queued:
            what = f"{row.queued} requests of {row.model.name} wait, because it is paused"
            found.append(Attention(what, "Resume the model to run them.", path))
    if viewer.may("admin"):
        webhooks = await gateway.store.run(outbox.outbox_status(1))
        if webhooks.exhausted:
            what = f"{webhooks.exhausted} webhooks were given up"
            found.append(Attention(what, "Their servers did not take them.", "/ui/webhooks"))
    return found

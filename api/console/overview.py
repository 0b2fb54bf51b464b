"""What the overview and the pages of models show: deployments with their replicas and queues."""

from collections import defaultdict
from dataclasses import dataclass

from api.console.sessions import Viewer
from api.gateway import Gateway
from deployments.registry import verbs as registry
from deployments.registry.records import Model
from deployments.registry.work import AtWork, at_work
from tasks.api_keys import sees_model_errors

PRODUCTION = "production"


@dataclass(frozen=True)
class DeploymentRow(AtWork):
    """One deployment. `reason` is why it does not run, or what it does meanwhile, as far as the viewer may read it; '' = nothing."""

    reason: str


@dataclass(frozen=True)
class ModelRow:
    """A model with its deployments: what production points at first, then the newest."""

    model: Model
    deployments: tuple[DeploymentRow, ...]

    @property
    def ids(self) -> frozenset[str]:
        """The ids of all deployments."""
        return frozenset(row.deployment.id for row in self.deployments)

    @property
    def queued(self) -> int:
        """Requests that wait, of all deployments."""
        return sum(row.queue.queued for row in self.deployments)

    @property
    def running(self) -> int:
        """Requests that run, of all deployments."""
        return sum(row.queue.in_progress for row in self.deployments)

    @property
    def serving(self) -> int:
        """Ready replicas of the deployment that `state` is about."""
        return self.deployments[0].status.ready if self.deployments else 0

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
        """Why the deployment that `state` is about does not run; '' if it does."""
        return self.deployments[0].reason if self.deployments else ""

    @property
    def broken(self) -> list[DeploymentRow]:
        """The deployments that could not be loaded, without those that are replaced.

        A deployment is replaced if no environment has it and the one that `state` is about is newer.
        """
        serving = self.deployments[0].deployment.created if self.deployments else 0
        return [
            row
            for row in self.deployments
            if row.status.name in ("DEPLOY_FAILED", "UNHEALTHY")
            and (row.environments or row.warming_for or row.deployment.created >= serving)
        ]


async def models_of(gateway: Gateway, viewer: Viewer) -> list[Model]:
    """The models that the viewer's key may use, by name."""
    known = await gateway.store.run(registry.models())
    allowed = set(viewer.key.models)
    models = [model for model in known if not allowed or {model.id, model.name} & allowed]
    return sorted(models, key=lambda model: model.name.lower())


async def model_rows(gateway: Gateway, viewer: Viewer, only: str = "") -> list[ModelRow]:
    """These models with their deployments. `only`, an id or a name, leaves the others out. Raises NotFound and StoreUnavailable."""
    models = await models_of(gateway, viewer)
    if only:
        wanted = (await gateway.store.run(registry.model(only))).id
        models = [model for model in models if model.id == wanted]
    by_id = {model.id: model for model in models}
    known = await gateway.store.run(registry.deployments())
    theirs = [deployment for deployment in known if deployment.model_id in by_id]
    detailed = sees_model_errors(gateway.settings, viewer.key.scope)
    rows: dict[str, list[DeploymentRow]] = defaultdict(list)
    for row in await at_work(gateway.store, gateway.directory, theirs, by_id):
        may_read = detailed or row.status.name == "BUILDING"
        shown = DeploymentRow(**vars(row), reason=row.status.reason if may_read else "")
        rows[row.deployment.model_id].append(shown)
    return [ModelRow(model, tuple(sorted(rows[model.id], key=_place))) for model in models]


def _place(row: DeploymentRow) -> tuple[bool, int]:
    """Sorts what production points at first, then the newest."""
    return PRODUCTION not in row.environments, -row.deployment.created

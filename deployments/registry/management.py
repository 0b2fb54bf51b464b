"""What operators do to models and deployments, as the management API and its clients mean it."""

from collections import defaultdict
from collections.abc import Mapping

from deployments.registry.autoscaling import Autoscaling
from deployments.registry.directory import Directory, Replica
from deployments.registry.records import Deployment, Environment, Model
from deployments.registry.registry import EnvironmentRefused, Registry
from deployments.registry.statuses import DeploymentStatus, status_of
from tasks.errors import NotFound
from tasks.settings import Settings

RESERVED = ("production", "development")


class Management:
    """Synchronous; the API runs it in a thread. Methods raise NotFound, EnvironmentRefused, NotOnItsOwn, BadSetting, StoreUnavailable."""

    def __init__(self, settings: Settings) -> None:
        self._registry = Registry(settings)
        self._directory = Directory(settings)

    def models(self) -> list[tuple[Model, int]]:
        """Every model with the number of its deployments."""
        counts: dict[str, int] = defaultdict(int)
        for deployment in self._registry.all():
            counts[deployment.model_id] += 1
        return [(model, counts[model.id]) for model in self._registry.models()]

    def model(self, reference: str) -> tuple[Model, int]:
        """One model, by id or name, with the number of its deployments."""
        model = self._registry.model(reference)
        return model, len(self._of(model))

    def deployments(
        self, reference: str
    ) -> tuple[Model, list[tuple[Deployment, DeploymentStatus]]]:
        """A model's deployments and how they are."""
        model = self._registry.model(reference)
        replicas: dict[str, list[Replica]] = defaultdict(list)
        for replica in self._directory.all():
            replicas[replica.deployment_id].append(replica)
        return model, [
            (deployment, status_of(deployment, replicas[deployment.id]))
            for deployment in self._of(model)
        ]

    def deployment(self, reference: str, which: str) -> tuple[Model, Deployment, DeploymentStatus]:
        """One deployment, by its id or by the environment that points at it."""
        model, known = self.deployments(reference)
        environment = model.environments.get(which)
        wanted = environment.deployment_id if environment else which
        for found_deployment, status in known:
            if found_deployment.id == wanted:
                return model, found_deployment, status
        raise NotFound(f"{model.name} has no deployment {which}.")

    def configure(self, reference: str, which: str, changes: Mapping[str, object]) -> bool:
        """Changes its autoscaling; whether anything changed."""
        _, deployment, _ = self.deployment(reference, which)
        self._registry.check_on_its_own(deployment)
        return self._registry.configure(deployment.id, deployment.autoscaling.changed(changes))

    def activate(self, reference: str, which: str, active: bool) -> bool:
        """Lets it run or not; whether that changed anything."""
        _, deployment, _ = self.deployment(reference, which)
        self._registry.check_on_its_own(deployment)
        return self._registry.activate(deployment.id, active)

    def retry(self, reference: str, which: str) -> tuple[bool, str | None]:
        """Loads a failed deployment again; whether, and why not."""
        _, deployment, status = self.deployment(reference, which)
        self._registry.check_on_its_own(deployment)
        if status.name not in ("DEPLOY_FAILED", "UNHEALTHY"):
            return False, f"The deployment is {status.name}, it has not failed."
        self._registry.retry(deployment.id)
        return True, None

    def promote(self, reference: str, which: str, environment: str = "production") -> None:
        """Warms a deployment, then switches the environment to it."""
        model, deployment, _ = self.deployment(reference, which)
        if environment not in model.environments and environment != "production":
            raise NotFound(f"{model.name} has no environment {environment!r}.")
        self._registry.promote(deployment, environment)

    def environment(self, reference: str, name: str) -> tuple[Model, Environment]:
        """One environment."""
        model = self._registry.model(reference)
        if name not in model.environments:
            raise NotFound(f"{model.name} has no environment {name!r}.")
        return model, model.environments[name]

    def create_environment(self, reference: str, name: str) -> None:
        """A name that points at nothing yet."""
        model = self._registry.model(reference)
        if name in RESERVED:
            raise EnvironmentRefused(f"The environment {name} is there already.")
        if not self._registry.create_environment(model.id, name):
            raise EnvironmentRefused(f"{model.name} has an environment {name} already.")

    def delete_environment(self, reference: str, name: str) -> Model:
        """Forgets an environment; its deployment stays."""
        model, _ = self.environment(reference, name)
        if name in RESERVED:
            raise EnvironmentRefused(f"The environment {name} cannot be deleted.")
        self._registry.drop_environment(model.id, name)
        return model

    def knobs(self, environment: Environment) -> Autoscaling:
        """The autoscaling of what an environment points at."""
        if not environment.deployment_id:
            return Autoscaling()
        return self._registry.deployment(environment.deployment_id).autoscaling

    def switches(self) -> int:
        """How often a replica made room for another deployment."""
        return self._registry.switches()

    def _of(self, model: Model) -> list[Deployment]:
        return [
            deployment for deployment in self._registry.all() if deployment.model_id == model.id
        ]

    def close(self) -> None:
        """Gives the connections back."""
        self._registry.close()

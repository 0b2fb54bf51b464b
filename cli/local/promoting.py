"""`kingpost promote`, `rollback`, `activate` and `deactivate` on the store of this machine."""

from cli.auditing import audited
from cli.commands.promoting import Pointers
from deployments.registry import verbs as registry
from deployments.registry.management import rollback_target
from deployments.registry.statuses import status_of
from tasks.errors import NotFound
from tasks.settings import Settings
from tasks.store import verbs
from tasks.store.job_store import JobStore


class RegistryOnStore:
    """The registry in the store that this machine reaches."""

    def __init__(self, settings: Settings) -> None:
        self.follows: bool | None = settings.queued_follow_environment
        self._store = JobStore(settings)

    def pointers(self, model: str, environment: str) -> Pointers:
        """What the environment points at now; empty Pointers if there is no such environment. Raises NotFound."""
        known = self._store.run(registry.model(model)).environments.get(environment)
        if known is None:
            return Pointers()
        return Pointers(known.deployment_id, known.candidate or "", known.previous or "")

    def load_failure(self, model: str, deployment_id: str) -> str:  # noqa: ARG002 - ids are unique
        """Why the last load of the deployment failed; '' if it did not. Raises NotFound."""
        deployment = self._store.run(registry.deployment(deployment_id))
        known = self._store.run(registry.replicas())
        of_it = [replica for replica in known if replica.deployment_id == deployment_id]
        return status_of(deployment, of_it).load_failure

    def promote(self, model: str, deployment_id: str, environment: str) -> None:
        """Warms up the deployment, then switches the environment to it. Raises NotFound and EnvironmentRefused."""
        self._switch("deployment.promote", model, deployment_id, environment)

    def _switch(self, action: str, model: str, deployment_id: str, environment: str) -> None:
        deployment = self._store.run(registry.deployment(deployment_id))
        if deployment.model_id != self._store.run(registry.model(model)).id:
            raise NotFound(f"{model} has no deployment {deployment_id}.")
        aim = f"{deployment.model_name}/{deployment.id} to {environment}"
        with audited(self._store, action, aim):
            self._store.run(registry.promote(deployment, environment))

    def rollback(self, model: str, environment: str) -> None:
        """Switches the environment back, or cancels its promotion. Raises NotFound."""
        known = self._store.run(registry.model(model))
        target = rollback_target(known, environment)
        self._switch("deployment.rollback", model, target, environment)

    def set_active(self, deployment_id: str, active: bool) -> tuple[str, bool]:
        """Activates or deactivates a deployment. Returns the name of its model, and whether that changed anything. Raises NotFound and NotOnItsOwn."""
        deployment = self._store.run(registry.deployment(deployment_id))
        action = "deployment.activate" if active else "deployment.deactivate"
        with audited(self._store, action, f"{deployment.model_name}/{deployment_id}"):
            self._store.run(registry.check_on_its_own(deployment))
            changed = self._store.run(registry.activate(deployment_id, active))
        return deployment.model_name, changed

    def queued(self, model: str, deployment_id: str) -> int:  # noqa: ARG002 - ids are unique
        """How many requests wait."""
        return self._store.run(verbs.queue_status(deployment_id)).queued

"""The operations of the management API on models, deployments and environments."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from deployments.registry import verbs as registry
from deployments.registry.autoscaling import Autoscaling
from deployments.registry.nodes import needs_node, nodes, why_unplaced
from deployments.registry.records import Deployment, Environment, Model, Replica
from deployments.registry.statuses import DeploymentStatus, status_of
from deployments.registry.verbs import EnvironmentRefused
from kingpost.records import RESERVED
from tasks.errors import NotFound
from tasks.store import verbs
from tasks.store.job_store import AsyncJobStore


def rollback_target(model: Model, environment: str) -> str:
    """The deployment that a rollback promotes: the previous one, or the current one if a promotion warms up. Raises NotFound."""
    known = model.environments.get(environment)
    if known is None:
        raise NotFound(f"{model.name} has no environment {environment!r}.")
    target = known.deployment_id if known.candidate else known.previous
    if not target:
        raise NotFound(f"{environment} of {model.name} has no previous deployment to go back to.")
    return target


def promotion_warnings(
    deployment: Deployment, status: DeploymentStatus, environment: str
) -> list[str]:
    """Warnings about a promotion. `status` is the one before it, because a promotion lets a failed deployment load again."""
    if not (why := status.load_failure):
        return []
    then = f"It is loaded again, and {environment} switches to it only when it is ready."
    return [f"The last load of {deployment.id} failed: {why.rstrip('.')}. {then}"]


class Management:
    """The operations. Methods raise NotFound, EnvironmentRefused, NotOnItsOwn, BadSetting and StoreUnavailable."""

    def __init__(self, store: AsyncJobStore) -> None:
        self._store = store

    async def models(self) -> list[tuple[Model, int]]:
        """Every model with the number of its deployments."""
        counts: dict[str, int] = defaultdict(int)
        for deployment in await self._store.run(registry.deployments()):
            counts[deployment.model_id] += 1
        return [(model, counts[model.id]) for model in await self._store.run(registry.models())]

    async def model(self, reference: str) -> tuple[Model, int]:
        """One model, by id or name, with the number of its deployments."""
        model = await self._store.run(registry.model(reference))
        return model, len(await self._of(model))

    async def deployments(
        self, reference: str
    ) -> tuple[Model, list[tuple[Deployment, DeploymentStatus]]]:
        """A model's deployments with their statuses."""
        model = await self._store.run(registry.model(reference))
        replicas: dict[str, list[Replica]] = defaultdict(list)
        for replica in await self._store.run(registry.replicas()):
            replicas[replica.deployment_id].append(replica)
        found = await self._of(model)
        paused = await self._store.run(verbs.paused([known.id for known in found]))
        lacking = await self._unplaced([k for k in found if needs_node(k, replicas[k.id])])
        return model, [
            (
                known,
                replace(
                    status_of(known, replicas[known.id], lacking.get(known.id, "")), paused=held
                ),
            )
            for known, held in zip(found, paused, strict=True)
        ]

    async def _unplaced(self, lacking: Sequence[Deployment]) -> dict[str, str]:
        heard = await self._store.run(nodes()) if lacking else []
        return {known.id: why_unplaced(heard, known) for known in lacking}

    async def deployment(
        self, reference: str, which: str
    ) -> tuple[Model, Deployment, DeploymentStatus]:
        """One deployment, by its id or by the environment that points at it."""
        model, known = await self.deployments(reference)
        environment = model.environments.get(which)
        wanted = environment.deployment_id if environment else which
        for found_deployment, status in known:
            if found_deployment.id == wanted:
                return model, found_deployment, status
        raise NotFound(f"{model.name} has no deployment {which}.")

    async def configure(self, reference: str, which: str, changes: Mapping[str, object]) -> bool:
        """Changes the autoscaling settings. Returns whether anything changed."""
        _, deployment, _ = await self.deployment(reference, which)
        await self._store.run(registry.check_on_its_own(deployment))
        return await self._store.run(
            registry.configure(deployment.id, deployment.autoscaling.changed(changes))
        )

    async def activate(self, reference: str, which: str, active: bool) -> bool:
        """Activates or deactivates a deployment. Returns whether that changed anything."""
        _, deployment, _ = await self.deployment(reference, which)
        await self._store.run(registry.check_on_its_own(deployment))
        return await self._store.run(registry.activate(deployment.id, active))

    async def retry(self, reference: str, which: str) -> tuple[bool, str | None]:
        """Loads a failed deployment again. Returns whether it does, and if not, why."""
        _, deployment, status = await self.deployment(reference, which)
        await self._store.run(registry.check_on_its_own(deployment))
        if status.name not in ("DEPLOY_FAILED", "UNHEALTHY"):
            return False, f"The deployment is {status.name}, it has not failed."
        await self._store.run(registry.retry(deployment.id))
        return True, None

    async def promote(
        self, reference: str, which: str, environment: str = "production"
    ) -> list[str]:
        """Warms up a deployment, then switches the environment to it. Returns warnings about it."""
        model, deployment, status = await self.deployment(reference, which)
        if environment not in model.environments and environment != "production":
            raise NotFound(f"{model.name} has no environment {environment!r}.")
        await self._store.run(registry.promote(deployment, environment))
        return promotion_warnings(deployment, status, environment)

    async def rollback(self, reference: str, environment: str) -> list[str]:
        """Switches an environment back to its previous deployment, or cancels a promotion that warms up. Returns warnings about it."""
        model = await self._store.run(registry.model(reference))
        return await self.promote(model.id, rollback_target(model, environment), environment)

    async def pause(self, reference: str, paused: bool) -> int:
        """Holds a model's jobs back, or lets them run again. Returns how many wait."""
        model = await self._store.run(registry.model(reference))
        found = await self._of(model)
        return sum([await self._store.run(verbs.pause(known.id, paused)) for known in found])

    async def environment(self, reference: str, name: str) -> tuple[Model, Environment]:
        """One environment."""
        model = await self._store.run(registry.model(reference))
        if name not in model.environments:
            raise NotFound(f"{model.name} has no environment {name!r}.")
        return model, model.environments[name]

    async def create_environment(self, reference: str, name: str) -> None:
        """Creates an environment that points at nothing yet."""
        model = await self._store.run(registry.model(reference))
        if name in RESERVED:
            raise EnvironmentRefused(f"The environment {name} is there already.")
        if not await self._store.run(registry.create_environment(model.id, name)):
            raise EnvironmentRefused(f"{model.name} has an environment {name} already.")

    async def delete_environment(self, reference: str, name: str) -> Model:
        """Deletes an environment. Its deployment stays."""
        model, _ = await self.environment(reference, name)
        if name in RESERVED:
            raise EnvironmentRefused(f"The environment {name} cannot be deleted.")
        await self._store.run(registry.drop_environment(model.id, name))
        return model

    async def autoscaling_of(self, environment: Environment) -> Autoscaling:
        """The autoscaling settings of the deployment that an environment points at; the defaults if it points at nothing."""
        if not environment.deployment_id:
            return Autoscaling()
        return (await self._store.run(registry.deployment(environment.deployment_id))).autoscaling

    async def _of(self, model: Model) -> list[Deployment]:
        return [
            deployment
            for deployment in await self._store.run(registry.deployments())
            if deployment.model_id == model.id
        ]

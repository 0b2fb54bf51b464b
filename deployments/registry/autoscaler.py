"""The autoscaler decides how many replicas each deployment should have, and when an environment may switch.

Any number of autoscalers may run, and one of them leads. It only writes `wanted`. Nodes take seats and start what fits.
"""

import secrets
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

from deployments.registry import verbs as registry
from deployments.registry.autoscaling import Autoscaling, Scaler
from deployments.registry.records import Deployment, Load, Model, Replica
from tasks.process.logs import get_logger
from tasks.process.loops import Guards
from tasks.settings import Settings
from tasks.store.job_store import AsyncJobStore

log = get_logger("autoscaler")

EVERY_SECONDS = 1.0
LEAD_MS = 5000  # without a sign of the leader, after which another autoscaler takes over
RETIRED_SECONDS = 10  # without work, after which a deployment stops that an environment has left


@dataclass(frozen=True)
class Seen:
    """One deployment with its current load."""

    deployment: Deployment
    load: Load
    replicas: list[Replica]

    @property
    def calls(self) -> int:
        """The calls in flight and waiting."""
        in_flight = max(self.load.running, sum(replica.busy for replica in self.replicas))
        return self.load.queued + in_flight + int(self.load.demanded)

    @property
    def states(self) -> set[str]:
        """The states of its replicas."""
        return {replica.state for replica in self.replicas}


class Autoscaler:
    """Scales all deployments. `run_once` does all the work."""

    def __init__(
        self,
        store: AsyncJobStore,
        settings: Settings,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._jobs_follow = settings.queued_follow_environment
        self._monotonic = monotonic
        self._me = secrets.token_hex(8)
        self._guards = Guards("scaling of", monotonic=monotonic)  # by deployment, or model
        self._scalers: dict[str, Scaler] = {}
        self._served: dict[str, int] = {}

    async def run_once(self) -> bool:
        """Scales everything once. False if another autoscaler leads. Raises StoreUnavailable."""
        if not await self._store.run(registry.lead(self._me, LEAD_MS)):
            return False
        replicas: dict[str, list[Replica]] = defaultdict(list)
        for replica in await self._store.run(registry.replicas()):
            replicas[replica.deployment_id].append(replica)
        models = await self._store.run(registry.models())
        warming = {env.candidate for model in models for env in model.environments.values()}
        leaders, followers = await self._see(replicas)
        for seen in leaders:
            with_it = followers.pop(seen.deployment.id, [])
            guard = self._guards[seen.deployment.id]
            if guard.due:
                with guard.part():
                    await self._scale(seen, with_it, seen.deployment.id in warming)
        for leader, left in followers.items():  # whose leader is not active
            with self._guards[leader].part():
                await self._scale_along(left, 0)
        for model in models:
            with self._guards[model.id].part():
                await self._switch_warm(model, replicas)
        return True

    async def _see(
        self, replicas: dict[str, list[Replica]]
    ) -> tuple[list[Seen], dict[str, list[Seen]]]:
        """The deployments that scale, and by their ids those that share their processes."""
        known = await self._store.run(registry.deployments())
        deployments = [deployment for deployment in known if deployment.active]
        ids = [deployment.id for deployment in deployments]
        loads = await self._store.run(registry.loads(ids))
        leaders: list[Seen] = []
        followers: dict[str, list[Seen]] = defaultdict(list)
        for deployment, load in zip(deployments, loads, strict=True):
            seen = Seen(deployment, load, replicas[deployment.id])
            (followers[deployment.leader] if deployment.leader else leaders).append(seen)
        return leaders, followers

    async def _scale(self, seen: Seen, with_it: list[Seen], warming: bool) -> None:
        deployment, together = seen.deployment, [seen, *with_it]
        # The busiest decides: a sum would count a call and the calls that it makes as if they needed a replica each.
        total = max(serving.calls for serving in together)
        # A new deployment starts without work, so that its owner sees at once whether it loads.
        new = not deployment.served and not deployment.failure
        called = [self._was_called(serving.deployment.id, serving.replicas) for serving in together]
        has_work = total > 0 or any(called) or new
        now = self._monotonic()
        scaler = self._scalers.setdefault(deployment.id, Scaler(now))
        settings = _settings_of(deployment)
        wanted = scaler.wanted(settings, now, total or float(has_work), deployment.wanted)
        if warming:
            wanted = max(wanted, 1)
        if wanted != deployment.wanted:
            log.info("deployment.scaled", deployment=deployment.id, wanted=wanted, load=total)
        has_work = has_work or warming
        await self._store.run(registry.scale(deployment.id, wanted, total, has_work, seen.states))
        await self._scale_along(with_it, wanted)

    async def _scale_along(self, followers: list[Seen], wanted: int) -> None:
        """Gives deployments that share a process the number of replicas of their leader. They never wait for one of their own."""
        for follower in followers:
            id_, calls, states = follower.deployment.id, follower.calls, follower.states
            await self._store.run(registry.scale(id_, wanted, calls, False, states))

    def _was_called(self, deployment_id: str, replicas: list[Replica]) -> bool:
        """Whether calls or jobs came since the last look. Short ones are over by now."""
        served = sum(replica.served for replica in replicas)
        before = self._served.get(deployment_id, served)
        self._served[deployment_id] = served
        return served > before

    async def _switch_warm(self, model: Model, replicas: dict[str, list[Replica]]) -> None:
        for environment in model.environments.values():
            candidate = environment.candidate
            if candidate and any(replica.state == "ready" for replica in replicas[candidate]):
                await self._store.run(registry.switch(model.id, environment.name, candidate))
                log.info("environment.switched", model=model.name, to=candidate)
                if self._jobs_follow:
                    await self._move_queued(environment.deployment_id, candidate)

    async def _move_queued(self, old: str, new: str) -> None:
        while await self._store.run(registry.follow(old, new)):
            pass  # each call moves a batch


def _settings_of(deployment: Deployment) -> Autoscaling:
    """The settings of a deployment. One to which no environment points any more gets a short delay, so that it stops soon."""
    settings = deployment.autoscaling
    if not deployment.retired:
        return settings
    delay = min(RETIRED_SECONDS, settings.scale_down_delay)
    return replace(settings, min_replica=0, scale_down_delay=delay, autoscaling_window=10)

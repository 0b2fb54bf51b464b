"""The autoscaler: how many replicas each deployment should have, and when an environment may switch.

Any number may run; one leads at a time. It only writes `wanted`: nodes take seats and start what fits.
"""

import asyncio
import secrets
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

from deployments.autoscaling import Scaler
from deployments.directory import Directory, Replica
from deployments.registry import Deployment, Load, Model, Registry
from tasks.logs import get_logger
from tasks.settings import Settings

log = get_logger("autoscaler")

EVERY_SECONDS = 1.0
LEAD_MS = 5000  # after which another one takes over
RETIRED_SECONDS = (
    10  # s without work until a deployment that no environment points at any more stops
)


class Autoscaler:
    """`run_once` does all the work."""

    def __init__(self, settings: Settings, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._registry = Registry(settings)
        self._directory = Directory(settings)
        self._follow = settings.queued_follow_environment
        self._monotonic = monotonic
        self._me = secrets.token_hex(8)
        self._scalers: dict[str, Scaler] = {}
        self._served: dict[str, int] = {}

    async def run_once(self) -> bool:
        """Scales everything once; False when another one leads. Raises StoreUnavailable."""
        return await asyncio.to_thread(self._run)

    def _run(self) -> bool:
        if not self._registry.lead(self._me, LEAD_MS):
            return False
        deployments = [one for one in self._registry.all() if one.active]
        loads = self._registry.loads([one.id for one in deployments])
        replicas: dict[str, list[Replica]] = defaultdict(list)
        for one in self._directory.all():
            replicas[one.deployment_id].append(one)
        models = self._registry.models()
        warming = {env.candidate for model in models for env in model.environments.values()}
        for deployment, load in zip(deployments, loads, strict=True):
            self._scale(deployment, load, replicas[deployment.id], deployment.id in warming)
        self._switch_warm(models, replicas)
        return True

    def _scale(
        self, deployment: Deployment, load: Load, replicas: list[Replica], warming: bool
    ) -> None:
        in_flight = max(load.running, sum(one.busy for one in replicas))
        total = load.queued + in_flight + int(load.demanded)
        new = not deployment.served and not deployment.failure  # shows at once whether it loads
        has_work = total > 0 or self._was_called(deployment.id, replicas) or new
        now = self._monotonic()
        settings = deployment.autoscaling
        if deployment.retired:
            delay = min(RETIRED_SECONDS, settings.scale_down_delay)
            settings = replace(
                settings, min_replica=0, scale_down_delay=delay, autoscaling_window=10
            )
        scaler = self._scalers.setdefault(deployment.id, Scaler(now))
        wanted = scaler.wanted(settings, now, total or float(has_work), deployment.wanted)
        if warming:
            wanted = max(wanted, 1)
        if wanted != deployment.wanted:
            log.info("deployment.scaled", deployment=deployment.id, wanted=wanted, load=total)
        why = next((one.error for one in replicas if one.state == "failed" and one.error), None)
        if why and why != deployment.failure:
            self._registry.fail(deployment.id, why)  # stays when its replica makes room for others
        states: set[str] = {one.state for one in replicas}
        self._registry.scale(deployment.id, wanted, total, has_work or warming, states)

    def _was_called(self, deployment_id: str, replicas: list[Replica]) -> bool:
        """Whether sync calls came since the last look; short ones are over by now."""
        served = sum(one.served for one in replicas)
        before = self._served.get(deployment_id, served)
        self._served[deployment_id] = served
        return served > before

    def _switch_warm(self, models: list[Model], replicas: dict[str, list[Replica]]) -> None:
        for model in models:
            for environment in model.environments.values():
                candidate = environment.candidate
                if candidate and any(one.state == "ready" for one in replicas[candidate]):
                    self._registry.switch(model.id, environment.name, candidate)
                    log.info("environment.switched", model=model.name, to=candidate)
                    if self._follow:
                        self._registry.follow(environment.deployment_id, candidate)

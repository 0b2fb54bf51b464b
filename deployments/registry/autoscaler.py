"""The autoscaler decides how many replicas each deployment should have, and when an environment may switch.

Any number of autoscalers may run, and one of them leads. It only writes `wanted`. Nodes take seats and start what fits.
"""

import asyncio
import secrets
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from deployments.registry import verbs as registry
from deployments.registry.autoscaling import Autoscaling, Scaler
from deployments.registry.pages import (
    LOADS,
    Deployments,
    Replicas,
    Warming,
    astir,
    lapse,
    loads_of,
    pages,
)
from deployments.registry.records import Deployment, Load, Model, Replica
from tasks.process.logs import get_logger
from tasks.process.loops import Guards
from tasks.settings import Settings
from tasks.store.job_store import AsyncJobStore

log = get_logger("autoscaler")
Work = tuple[str, Callable[[], Awaitable[None]]]  # of a deployment or a model, by its id

EVERY_SECONDS = 1.0
LEAD_MS = 5000  # without a sign of the leader, after which another autoscaler takes over
LEAD_AGAIN_SECONDS = 1.0  # between two signs
LAPSE_SECONDS = 2.0  # between two looks for seats that lapsed, of all deployments that should run
AT_ONCE = 100  # deployments whose changes are written together
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
        self._deployments, self._warming = Deployments(store, monotonic), Warming(store, monotonic)
        self._replicas = Replicas(store, monotonic)
        self._guards = Guards("scaling of", monotonic=monotonic)  # by deployment, or model
        self._scalers: dict[str, Scaler] = {}
        self._served: dict[str, int] = {}
        self._needy: set[str] = set()  # as this round began
        self._led_at = self._lapse_at = 0.0

    async def run_once(self) -> bool:
        """Scales everything once. False if another autoscaler leads. Raises StoreUnavailable."""
        # Who does not lead reads what has changed, too. It may take over at any time, and a first reading may outlast a lead.
        await self._deployments.read()
        await self._replicas.read()
        if not await self._leads(anew=True):
            return False
        replicas: dict[str, list[Replica]] = defaultdict(list)
        for replica in (await self._replicas.read()).values():
            replicas[replica.deployment_id].append(replica)
        models = await self._warming.read()
        warming = {env.candidate for model in models for env in model.environments.values()}
        self._needy = set(await self._store.run(registry.needy()))
        leaders, followers = await self._see(replicas, warming)
        await self._free_lapsed_seats(leaders)
        work: list[Work] = []
        for seen in leaders:
            id_, with_it = seen.deployment.id, followers.pop(seen.deployment.id, [])
            work.append((id_, partial(self._scale, seen, with_it, id_ in warming)))
        for leader, left in followers.items():  # whose leader is not active
            work.append((leader, partial(self._scale_along, left, 0)))
        for model in models:
            work.append((model.id, partial(self._switch_warm, model, replicas)))
        for batch in pages(work, AT_ONCE):
            if not await self._leads():
                return False
            await asyncio.gather(*(self._guarded(name, part) for name, part in batch))
        return True

    async def _leads(self, anew: bool = False) -> bool:
        """Whether this autoscaler leads. It says so again in good time, however long a round takes."""
        if anew or self._monotonic() - self._led_at > LEAD_AGAIN_SECONDS:
            if not await self._store.run(registry.lead(self._me, LEAD_MS)):
                return False
            self._led_at = self._monotonic()
        return True

    async def _free_lapsed_seats(self, leaders: Sequence[Seen]) -> None:
        """Frees seats that nobody renews, now and then, so that nodes hear of them."""
        if self._monotonic() < self._lapse_at:
            return
        self._lapse_at = self._monotonic() + LAPSE_SECONDS
        wanted = [seen.deployment.id for seen in leaders if seen.deployment.wanted]
        for page in pages(wanted, LOADS):
            with self._guards["seats"].part():
                await self._store.run(lapse(page))

    async def _guarded(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Does the part of a round that is about one deployment or model. A failure does not stop the others."""
        guard = self._guards[name]
        if guard.due:
            with guard.part():
                await work()

    async def _see(
        self, replicas: dict[str, list[Replica]], warming: set[str | None]
    ) -> tuple[list[Seen], dict[str, list[Seen]]]:
        """The deployments that may have to scale, and by their ids those that share their processes."""
        known = await self._deployments.read()
        awake = await self._store.run(astir()) | replicas.keys() | self._needy | warming
        resting = {id_ for id_, each in known.items() if id_ not in awake and _rests(each)}
        # One that shares a process with others rests with them.
        awake |= {each.leader or id_ for id_, each in known.items() if id_ not in resting}
        deployments = [
            each
            for id_, each in known.items()
            if each.active and (id_ not in resting or (each.leader or id_) in awake)
        ]
        loads = await loads_of(self._store, [deployment.id for deployment in deployments])
        leaders: list[Seen] = []
        followers: dict[str, list[Seen]] = defaultdict(list)
        for deployment, load in zip(deployments, loads, strict=True):
            seen = Seen(deployment, load, replicas.get(deployment.id, []))
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
        await self._write(seen, wanted, total, has_work)
        await self._scale_along(with_it, wanted)

    async def _scale_along(self, followers: list[Seen], wanted: int) -> None:
        """Gives deployments that share a process the number of replicas of their leader. They never wait for one of their own."""
        for follower in followers:
            await self._write(follower, wanted, follower.calls, False)

    async def _write(self, seen: Seen, wanted: int, load: float, has_work: bool) -> None:
        """Records what was decided, unless the record says it and nothing happens there."""
        known = seen.deployment
        same = (wanted, load) == (known.wanted, known.load) and known.id not in self._needy
        settled = not (has_work or known.failure or known.gave_up)
        if same and settled and (known.served or "ready" not in seen.states):
            return
        await self._store.run(registry.scale(known.id, wanted, load, has_work, seen.states))

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
        while await self._leads() and await self._store.run(registry.follow(old, new)):
            pass  # each call moves a batch


def _rests(deployment: Deployment) -> bool:
    """Whether a deployment that has no replica and no work stays as its record says."""
    settled = deployment.served and not (deployment.failure or deployment.gave_up)
    return settled and not (
        deployment.wanted or deployment.load or _settings_of(deployment).min_replica
    )


def _settings_of(deployment: Deployment) -> Autoscaling:
    """The settings of a deployment. One to which no environment points any more gets a short delay, so that it stops soon."""
    settings = deployment.autoscaling
    if not deployment.retired:
        return settings
    delay = min(RETIRED_SECONDS, settings.scale_down_delay)
    return replace(settings, min_replica=0, scale_down_delay=delay, autoscaling_window=10)

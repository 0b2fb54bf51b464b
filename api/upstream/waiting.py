"""Waits for a replica, for all kinds of calls: sync, stream, `/v1`, run_remote and WebSockets."""

from dataclasses import dataclass
from time import monotonic

from api.gateway import Gateway
from api.problems import Problem
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment
from tasks.api_keys import ApiKey, sees_model_errors

LOOK_EVERY = 1.0  # s, between looks at the registry while a call waits
DEMAND_EVERY = 5.0  # s, between calls that tell the registry that the deployment is wanted
FOR_OTHERS = (
    "the owner sees the reason in `kingpost models`, or in a call with a key of the scope full"
)
RETRY_AFTER = {"Retry-After": "5"}


def deactivated(deployment: Deployment) -> str:
    """What a caller of a deactivated deployment is told."""
    name, id_ = deployment.model_name, deployment.id
    return f"{name} is deactivated; activate its deployment {id_} first."


def why_not_loaded(deployment: Deployment, detailed: bool) -> str:
    """What a caller is told of a deployment that gave up loading; `detailed` as in WaitingCall."""
    sentence = deployment.failure.splitlines()[-1] if deployment.failure else ""
    return f"{deployment.model_name} could not be loaded: {sentence if detailed else FOR_OTHERS}"


def warning(deployment: Deployment, detailed: bool) -> list[str]:
    """For a request that is queued: why its deployment does not start by itself; empty when it does."""
    if deployment.active and not deployment.gave_up:
        return []
    given_up = deployment.failure or deployment.active
    why = why_not_loaded(deployment, detailed) if given_up else deactivated(deployment)
    return [f"The request waits, and expires if it waits too long: {why}"]


@dataclass(frozen=True)
class WaitingCall:
    """A call that needs a replica. `detailed` says whether the caller may read the model's exceptions."""

    gateway: Gateway
    deployment: Deployment
    detailed: bool

    @classmethod
    def of(cls, gateway: Gateway, deployment: Deployment, key: ApiKey) -> "WaitingCall":
        """A call by the holder of that key."""
        return cls(gateway, deployment, sees_model_errors(gateway.settings, key.scope))

    async def until_ready(self) -> None:
        """Wakes the deployment and waits for a replica, at most `sync_park_seconds`.

        Raises Problem 503: at once if the deployment is not active or gave up loading, later if no replica is ready in time.
        """
        gateway, id_ = self.gateway, self.deployment.id
        seconds = gateway.settings.sync_park_seconds
        now = monotonic()
        ends, demanded = now + seconds, now - DEMAND_EVERY
        while True:
            known = await gateway.resolver.deployment(id_)
            if known.gave_up or not known.active:
                await self._check_fresh()
            now = monotonic()
            if now >= ends:
                raise self._too_late(known, seconds)
            if gateway.hub.closing:
                message = f"The API stops, and no replica of {known.model_name} is ready; send the call again."
                raise Problem(503, "model_not_ready", message, RETRY_AFTER)
            if now >= demanded + DEMAND_EVERY:
                await gateway.store.run(registry.demand(id_))
                demanded = now
            if await gateway.directory.wait_ready(id_, min(ends - now, LOOK_EVERY)):
                return

    async def check_active(self) -> Deployment:
        """Reads the deployment anew, because it may have been activated since the last read.

        Raises Problem 503 if it is not active, because no call wakes it.
        """
        known = await self.gateway.resolver.deployment(self.deployment.id, fresh=True)
        if known.active:
            return known
        if known.failure:  # `kingpost up` found it broken and does not run it
            raise self._load_failed(known)
        raise Problem(503, "model_not_ready", deactivated(known))

    async def _check_fresh(self) -> None:
        known = await self.check_active()
        if known.gave_up:
            raise self._load_failed(known)

    def _load_failed(self, known: Deployment) -> Problem:
        frames = known.failure.splitlines()[:-1]
        more: dict[str, object] = {"reason": "model_load_failed"}
        if self.detailed and frames:
            more["detail"] = "\n".join(frames)
        message = why_not_loaded(known, self.detailed)
        return Problem(503, "model_unavailable", message, more=more)

    def _too_late(self, known: Deployment, seconds: float) -> Problem:
        message = f"No replica of {known.model_name} was ready within {seconds:g} s."
        if known.failure:
            why = known.failure.splitlines()[-1] if self.detailed else FOR_OTHERS
            message += f" Its last load failed: {why}"
        return Problem(503, "model_not_ready", message, RETRY_AFTER)

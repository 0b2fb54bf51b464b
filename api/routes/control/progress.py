"""The way of a deployment from its push until it is ready or has failed, as Server-Sent Events."""

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from time import monotonic
from typing import Literal

from api.gateway import Gateway
from api.routes.sse import GOODBYE, PING_SECONDS
from deployments.registry import verbs as registry
from deployments.registry.nodes import needs_node, nodes, why_unplaced
from deployments.registry.records import Deployment
from deployments.registry.statuses import StatusName, status_of
from tasks.errors import NotFound

State = Literal["queued", "building", "loading", "ready", "asleep", "failed", "inactive", "deleted"]
FINAL = ("ready", "asleep", "failed", "inactive", "deleted")
STATES: dict[StatusName, State] = {
    "BUILDING": "building",
    "LOADING_MODEL": "loading",
    "ACTIVE": "ready",
    "SCALED_TO_ZERO": "asleep",
    "DEACTIVATING": "inactive",
    "INACTIVE": "inactive",
}
LONGEST_SECONDS = 3600.0  # of a stream; its client connects again
LOOK_SECONDS = 1.0  # at least; a change of a replica is seen at once


@dataclass(frozen=True)
class Step:
    """Where a deployment is on its way. `message` says what happens now, or has a traceback whose last line is the error."""

    state: State
    status: str
    message: str
    ready_replicas: int


async def steps(gateway: Gateway, deployment_id: str) -> AsyncGenerator[str]:
    """An event for each step until the last one, or until the API stops."""
    began = told = monotonic()
    number, last = 0, None
    while True:
        step = await _look(gateway, deployment_id)
        if step != last:
            number, last, told = number + 1, step, monotonic()
            yield f"id: {number}\nevent: deployment\ndata: {json.dumps(vars(step))}\n\n"
        if step.state in FINAL:
            yield f"id: {number + 1}\nevent: done\ndata: {{}}\n\n"
            return
        if gateway.hub.closing or monotonic() - began > LONGEST_SECONDS:
            yield GOODBYE
            return
        if monotonic() - told > PING_SECONDS:
            told = monotonic()
            yield ": still here\n\n"
        await gateway.directory.wait_change(LOOK_SECONDS)


async def _look(gateway: Gateway, deployment_id: str) -> Step:
    try:
        deployment = await gateway.store.run(registry.deployment(deployment_id))
    except NotFound:
        return Step("deleted", "DELETED", "The deployment was deleted.", 0)
    replicas = gateway.directory.of(deployment_id)
    unplaced = ""
    if needs_node(deployment, replicas):
        unplaced = why_unplaced(await gateway.store.run(nodes()), deployment)
    status = status_of(deployment, replicas, unplaced)
    reason = status.reason.strip()
    return Step(_state(deployment, status.name, bool(replicas)), status.name, reason, status.ready)


def _state(deployment: Deployment, name: StatusName, has_replica: bool) -> State:
    """The step. Whether a load has failed is read from the registry, because a replica's entry may be of an earlier attempt."""
    if name in STATES:
        return STATES[name]
    if name in ("DEPLOY_FAILED", "UNHEALTHY"):
        return "failed" if deployment.failure else "loading"
    return "loading" if has_replica else "queued"

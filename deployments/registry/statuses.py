"""Computes the status of a deployment as Baseten names it (DeploymentStatus in its management OpenAPI)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deployments.registry.records import Deployment, Replica

StatusName = Literal[
    "DEPLOYING",
    "LOADING_MODEL",
    "ACTIVE",
    "UNHEALTHY",
    "DEPLOY_FAILED",
    "DEACTIVATING",
    "INACTIVE",
    "SCALED_TO_ZERO",
    "WAKING_UP",
    "BUILDING",
]


@dataclass(frozen=True)
class DeploymentStatus:
    """The name of the status, the number of ready replicas, and the reason: why a load failed, or what happens meanwhile.

    A `paused` deployment has any status; its queued requests are held back.
    """

    name: StatusName
    ready: int = 0
    reason: str = ""
    paused: bool = False

    @property
    def load_failure(self) -> str:
        """The sentence that says why its last load failed; empty if it did not."""
        failed = self.name in ("DEPLOY_FAILED", "UNHEALTHY", "INACTIVE")
        lines = self.reason.strip().splitlines() if failed else []
        return lines[-1] if lines else ""


def status_of(
    deployment: Deployment, replicas: Sequence[Replica], unplaced: str = ""
) -> DeploymentStatus:
    """The status from the record and the live replicas. `unplaced` says why no node has taken it."""
    states = [replica.state for replica in replicas]
    ready = states.count("ready")
    if not deployment.active:
        name: StatusName = "DEACTIVATING" if replicas else "INACTIVE"
        return DeploymentStatus(name, ready, deployment.failure)
    if ready:
        return DeploymentStatus("ACTIVE", ready)
    reason = (
        deployment.failure
        or next((replica.error for replica in replicas if replica.error), "")
        or ""
    )
    if "unhealthy" in states:
        return DeploymentStatus("UNHEALTHY", 0, reason)
    if "failed" in states or deployment.failure:
        name = "UNHEALTHY" if deployment.served else "DEPLOY_FAILED"
        return DeploymentStatus(name, 0, reason)
    note = next((replica.note for replica in replicas if replica.note), "") or ""
    if "building" in states:
        return DeploymentStatus("BUILDING", 0, note)
    if "loading" in states:
        return DeploymentStatus("WAKING_UP" if deployment.served else "LOADING_MODEL", 0, note)
    if deployment.wanted == 0:
        return DeploymentStatus("SCALED_TO_ZERO")
    return DeploymentStatus("WAKING_UP" if deployment.served else "DEPLOYING", 0, unplaced)

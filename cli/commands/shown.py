"""What `kingpost models` and `kingpost deployments` show, whether it comes from a server or from the store of this machine."""

from collections.abc import Sequence
from dataclasses import dataclass

PRODUCTION = "production"
HELD = ("ready", "stopped", "asleep")  # for a paused deployment, `paused` is shown instead of these
IDLE = ("stopped", "asleep", "inactive", "paused")  # states in which a deployment may do nothing


@dataclass(frozen=True)
class ModelLine:
    """One deployment as `kingpost models` shows it."""

    model: str
    id: str
    deployment: str
    serves: str  # `production`, else the environments as `pointing` has them
    state: str
    slots: int
    queued: int
    running: int
    remark: str | None


@dataclass(frozen=True)
class DeploymentLine:
    """One deployment as `kingpost deployments` shows it."""

    model: str
    deployment: str
    status: str
    ready: int  # replicas
    wanted: int  # replicas
    environments: tuple[str, ...]  # that point at it
    candidate_for: tuple[str, ...]  # environments that will, when it is ready
    reason: str | None
    warnings: tuple[str, ...]


def pointing(now: Sequence[str], soon: Sequence[str]) -> str:
    """The environments that point at a deployment `now`, and those that will `soon`, for a column of a table; `-` for none."""
    return ", ".join([*now, *(f"({name} soon)" for name in soon)]) or "-"

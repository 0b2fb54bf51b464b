"""What `kingpost models` and `kingpost deployments` show, whether it comes from a server or from the store of this machine."""

from collections.abc import Sequence
from dataclasses import dataclass

PRODUCTION = "production"
HELD = ("ready", "stopped")  # states that say less than `paused`


@dataclass(frozen=True)
class ModelLine:
    """One deployment as `kingpost models` shows it."""

    model: str
    id: str
    deployment: str
    serves: str
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
    ready: int
    wanted: int
    environments: str
    reason: str | None
    warnings: tuple[str, ...]


def pointing(now: Sequence[str], soon: Sequence[str]) -> str:
    """Environments in a column of a table."""
    return ", ".join([*now, *(f"({name} soon)" for name in soon)]) or "-"

"""What a node leaves in its state folder for the next one there, in case it dies: its id, and the seats that it holds."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deployments.registry.records import Seat


@dataclass(frozen=True)
class Remains:
    """A node and its seats, as it wrote them down."""

    node_id: str
    seats: tuple[Seat, ...]

    @classmethod
    def read(cls, path: Path) -> "Remains | None":
        """What the earlier node left, None if there was none. Raises OSError and ValueError."""
        if not path.exists():
            return None
        said = json.loads(path.read_text())
        return cls(said["node"], tuple(Seat(*pair) for pair in said["seats"]))


def write_down(path: Path, node_id: str, seats: Iterable[Seat]) -> None:
    """Replaces what stands there. Raises OSError."""
    pairs = [(seat.deployment_id, seat.replica_id) for seat in seats]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".new").write_text(json.dumps({"node": node_id, "seats": pairs}))
    path.with_suffix(".new").replace(path)

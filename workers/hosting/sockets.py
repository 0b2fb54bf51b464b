"""Where a model host serves one package."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(eq=False)
class HostSocket:
    """A host has one of these; a host that chainlets share has one for each of them."""

    name: str
    package: Path
    address: str  # for callers
    slots: int = 1

    @property
    def worker_address(self) -> str:
        """Where the worker alone calls it."""
        return worker_address(self.address)


def worker_address(address: str) -> str:
    """The worker's socket beside that one for callers."""
    return f"{address.removesuffix('.sock')}.worker.sock"

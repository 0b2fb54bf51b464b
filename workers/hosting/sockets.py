"""Where a model host serves one package."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(eq=False)
class HostSocket:
    """The sockets of one package. A host has one such object, or one for each chainlet that shares it."""

    name: str
    package: Path
    address: str  # for callers
    slots: int = 1

    @property
    def worker_address(self) -> str:
        """The address that only the worker calls."""
        return worker_address(self.address)


def worker_address(address: str) -> str:
    """The worker's socket that belongs to this socket for callers."""
    return f"{address.removesuffix('.sock')}.worker.sock"

"""Where a model host serves one package."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(eq=False)
class HostSocket:
    """The sockets of one package. A host has one such object, or one for each chainlet that shares it.

    `name` is that of the model, and `package` is its folder.
    """

    name: str
    package: Path
    address: str  # path of the socket for callers
    slots: int = 1  # as the host says once it is ready

    @property
    def worker_address(self) -> str:
        """The path of the socket that only the worker calls."""
        return worker_address(self.address)


def worker_address(address: str) -> str:
    """The worker's socket that belongs to this socket for callers."""
    return f"{address.removesuffix('.sock')}.worker.sock"

"""One socket of a model host: where one package is called."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(eq=False)
class HostSocket:
    """A host has one; a host that chainlets share has one for each of them."""

    name: str
    package: Path
    address: str
    slots: int = 1

"""The address of a model host: a Unix socket on the same machine, or TCP with a token from another machine."""

import os
from typing import NamedTuple

from tasks.machine import machine

TOKEN_HEADER = "x-kingpost-host-token"
REFUSED_HEADER = "x-kingpost-gate"  # an answer of the gate itself, not of a model


class HostAddress(NamedTuple):
    """An address of a model host. `address` is the path of a Unix socket, or HOST:PORT if there is a token."""

    address: str
    token: str = ""

    @property
    def endpoint(self) -> tuple[str, int]:
        """Host and port of a TCP address."""
        host, _, port = self.address.rpartition(":")
        return host.strip("[]"), int(port)

    def __repr__(self) -> str:
        return f"HostAddress({self.address})"  # without the token: this may be logged


def is_here(replica_machine: str, address: str) -> bool:
    """Whether this process can connect to that Unix socket."""
    # A folder that two machines share shows the socket of one on the other, where nobody answers.
    return replica_machine in ("", machine()) and os.path.exists(address)

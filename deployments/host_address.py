"""The address of a model host: a Unix socket on the same machine, or TCP with a token from another machine."""

import os
import socket
from typing import NamedTuple

from tasks.machine import machine

TOKEN_HEADER = "x-kingpost-host-token"
REFUSED_HEADER = "x-kingpost-gate"  # an answer of the gate itself, not of a model
SILENT_SECONDS, PROBE_SECONDS, PROBES = 5, 5, 2  # a machine that vanished is noticed in 15 s
_OPTIONS = {"TCP_KEEPIDLE": SILENT_SECONDS, "TCP_KEEPINTVL": PROBE_SECONDS, "TCP_KEEPCNT": PROBES}


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


def probe_silence(connection: socket.socket) -> None:
    """Sets keep-alive, so that the kernel notices when the machine of the peer is gone."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _OPTIONS.items():
        if option := getattr(socket, name, None):  # Linux has them all
            connection.setsockopt(socket.IPPROTO_TCP, option, value)

"""How a model host is reached from here: its Unix socket on its own machine, TCP with a token from another."""

import os
import socket
from typing import NamedTuple

from tasks.machine import machine

TOKEN_HEADER = "x-kingpost-host-token"
REFUSED_HEADER = "x-kingpost-gate"  # an answer of the gate itself, not of a model
SILENT_SECONDS, PROBE_SECONDS, PROBES = 5, 5, 2  # a machine that vanished is noticed in 15 s
_OPTIONS = {"TCP_KEEPIDLE": SILENT_SECONDS, "TCP_KEEPINTVL": PROBE_SECONDS, "TCP_KEEPCNT": PROBES}


class HostAddress(NamedTuple):
    """`address` is the path of a Unix socket, or HOST:PORT where there is a token."""

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
    """Whether that Unix socket can be connected from here."""
    # A folder that two machines share shows the socket of one on the other, where nobody answers.
    return replica_machine in ("", machine()) and os.path.exists(address)


def probe_silence(connection: socket.socket) -> None:
    """Lets the kernel notice a peer whose machine is gone, which sends no goodbye."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _OPTIONS.items():
        if option := getattr(socket, name, None):  # Linux has them all
            connection.setsockopt(socket.IPPROTO_TCP, option, value)

"""Addresses and TCP ports: which are free, and how to write them down."""

import errno
import random
import socket


def url(host: str, port: int) -> str:
    """Where somebody who listens on this address can be called from this machine; it can be pasted."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def why_taken(host: str, port: int) -> str | None:
    """Why nobody could listen there now, None when somebody could."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        return f"{host} is no address and no name that this machine knows"
    family, kind, protocol, _, address = found[0]
    try:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            return f"{host} is not an address of this machine"
        if error.errno == errno.EACCES:
            return f"port {port} needs more rights than this user has"
        if error.errno == errno.EADDRINUSE:
            return f"port {port} is taken"
        return f"{host} port {port} cannot be listened on: {error.strerror}"
    return None


def is_free(host: str, port: int) -> bool:
    """Whether somebody could listen there now."""
    return why_taken(host, port) is None


def free_port() -> int:
    """A loopback port that nobody listens on right now.

    Below the range from which the kernel gives outgoing connections theirs: one of those may hold a port that was
    free when it was chosen.
    """
    while not is_free("127.0.0.1", port := random.randrange(10_000, 32_768)):
        pass
    return port

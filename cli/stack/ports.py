"""Addresses and TCP ports: which are free, and how a URL is written."""

import errno
import random
import socket


def url(host: str, port: int) -> str:
    """The URL under which a listener on this address can be called from this machine."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def why_taken(host: str, port: int) -> str | None:
    """Why a process could not listen there now, None if it could."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        return f"{host} is neither an address nor a name that this machine can resolve"
    family, kind, protocol, _, address = found[0]
    try:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            return f"{host} is not an address of this machine"
        if error.errno == errno.EACCES:
            return f"this user has no right to listen on port {port}"
        if error.errno == errno.EADDRINUSE:
            return f"port {port} is already in use"
        return f"{host} port {port}: {error.strerror}"
    return None


def is_free(host: str, port: int) -> bool:
    """Whether a process could listen there now."""
    return why_taken(host, port) is None


def free_port() -> int:
    """A loopback port that no process listens on right now.

    It is below the range (from 32768) from which Linux takes ports for outgoing connections. Such a connection could take a port
    after it was chosen.
    """
    while not is_free("127.0.0.1", port := random.randrange(10_000, 32_768)):
        pass
    return port

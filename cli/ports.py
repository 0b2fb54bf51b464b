"""TCP ports: which are free."""

import random
import socket


def is_free(host: str, port: int) -> bool:
    """Whether somebody could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A loopback port that nobody listens on right now.

    Below the range from which the kernel gives outgoing connections theirs: one of those may hold a port that was
    free when it was chosen.
    """
    while not is_free("127.0.0.1", port := random.randrange(10_000, 32_768)):
        pass
    return port

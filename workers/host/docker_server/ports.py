"""Chooses the port of a custom server, and finds out whether another process listens there.

Each copy gets a port of its own, unless its command names the port.
"""

import contextlib
import errno
import os
import random
import socket
import sys
from pathlib import Path

from deployments.packages.package import DockerServer
from workers.processes.ends import by_parent

FIRST, LAST = 20_000, 32_767  # below the ports that Linux gives to outgoing connections
TRIES = 200  # random ports, until the machine counts as full
LISTENS = "0A"  # the state of a listening socket in /proc/net/tcp
# Listening addresses that a call to 127.0.0.1 reaches, as /proc/net/tcp and tcp6 write them: 127.0.0.1, 0.0.0.0, :: and
# ::ffff:127.0.0.1.
HERE = {"0100007F", "00000000", "0" * 32, "0000000000000000FFFF00000100007F"}
# Programs that listen on behalf of a server in a container. The command may have started that container.
FORWARDERS = {"docker-proxy", "rootlessport", "slirp4netns", "pasta", "gvproxy"}


class PortTaken(Exception):
    """Another process has the port. The message says what to do."""


class OwnPort:
    """A port of this machine for one copy. No other model host takes it until `close`, or until this process ends."""

    def __init__(self, number: int, claim: socket.socket | None) -> None:
        self.number = number
        self._claim = claim

    @classmethod
    def for_server(cls, server: DockerServer) -> "OwnPort":
        """A free port if the command says where its port goes, else the port of config.yaml. Raises PortTaken."""
        if not server.takes_any_port:
            return cls._claim_number(server.server_port)
        for _ in range(TRIES):
            with contextlib.suppress(PortTaken):
                return cls._claim_number(random.randint(FIRST, LAST))
        raise PortTaken(f"No port from {FIRST} to {LAST} of this machine is free.")

    @classmethod
    def _claim_number(cls, number: int) -> "OwnPort":
        claim = _claimed(number)
        try:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("", number))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                if claim:
                    claim.close()
                raise PortTaken(_taken(number, _holder(number))) from error
        # also after other errors: the server may have a right to the port that this process lacks
        return cls(number, claim)

    def close(self) -> None:
        """Gives the port back."""
        if self._claim:
            self._claim.close()


def _claimed(number: int) -> socket.socket | None:
    """A lock on the port, held until it is closed or this process ends. Raises PortTaken if another replica holds it.

    It is an abstract Unix socket, whose name all processes in the same network namespace see. Other systems than Linux have
    none, so the result is None there.
    """
    if sys.platform != "linux":
        return None
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0kingpost-port-{number}")
    except OSError as error:
        claim.close()
        raise PortTaken(_taken(number, "another replica")) from error
    return claim


def _taken(number: int, holder: str) -> str:
    return (
        f"Port {number} of this machine is taken by {holder}, and start_command names it itself. Write {{port}} or $PORT there "
        "instead: then each replica gets a port of its own."
    )


def stranger_at(number: int) -> str | None:
    """Who listens on the port instead of what this process started; None if no stranger does, or nobody can tell.

    This process must adopt orphans, or it takes a daemon of its own for a stranger.
    """
    listening = _listening(number)
    if not listening:
        return None  # another system, or a container whose port the kernel forwards
    known, all_read = _sockets_of(_descendants())
    strangers = listening - known
    if not strangers or not all_read:
        return None
    holder = _holder(number)
    return None if holder.partition(" ")[0] in FORWARDERS else holder


def _listening(number: int) -> set[str]:
    """The inodes of sockets that a call of 127.0.0.1 at that port may reach."""
    found = set[str]()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                address, _, port = fields[1].partition(":")
                if fields[3] == LISTENS and int(port, 16) == number and address in HERE:
                    found.add(fields[9])
    return found


def _descendants() -> list[int]:
    """The ids of all processes below this one, adopted orphans included."""
    of_parent, known = by_parent(), {os.getpid()}
    todo = list(known)
    for pid in todo:  # the list grows while the loop runs
        new = {child.pid for child in of_parent.get(pid, ())} - known
        known |= new
        todo += new
    return todo[1:]


def _sockets_of(pids: list[int]) -> tuple[set[str], bool]:
    """The inodes of the sockets of these processes, and whether this user could read those of all."""
    found, all_read = set[str](), True
    for pid in pids:
        try:
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    name = str(entry.readlink())
                    if name.startswith("socket:["):
                        found.add(name[8:-1])
        except PermissionError:  # of another user
            all_read = False
        except OSError:
            continue  # it has ended
    return found, all_read


def _holder(number: int) -> str:
    """The name and id of the process that listens on the port, or "another process" if this user may not see it."""
    listening = _listening(number)
    for kin in by_parent().values():
        for process in kin:
            if listening & _sockets_of([process.pid])[0]:
                with contextlib.suppress(OSError):
                    name = Path(f"/proc/{process.pid}/comm").read_text().strip()
                    return f"{name} (process {process.pid})"
    return "another process"

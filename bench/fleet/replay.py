"""What the scripts of a running system cost by the store's processor: calls are recorded, everyone else is halted, and each is run again.

The clock says little on a machine that others use: who is sent from the core in the middle of a script has a long one.
"""

import codecs
import re
import socket
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CALL = re.compile(rb'^\+\S+ \[\d+ (\S+)\] "FCALL" (.*)$')
ARGUMENT = re.compile(rb'"((?:[^"\\]|\\.)*)"')
OF_EACH = 20  # calls of one function
TRIES = 5  # of one call, whose median counts
Calls = Mapping[str, Sequence[Sequence[bytes]]]


def record(port: int, seconds: float) -> Calls:
    """The latest different calls of each function in that time, with their arguments."""
    found: dict[str, dict[tuple[bytes, ...], None]] = defaultdict(dict)
    ends, read = time.monotonic() + seconds, bytearray()
    with socket.create_connection(("127.0.0.1", port)) as monitor:
        monitor.sendall(b"MONITOR\r\n")
        monitor.settimeout(0.5)
        while time.monotonic() < ends:
            try:
                read += monitor.recv(1 << 20)
            except TimeoutError:
                continue
    for line in bytes(read).split(b"\r\n"):
        if call := CALL.match(line):
            arguments = [_unescaped(part) for part in ARGUMENT.findall(call[2])]
            name = arguments[0].decode()
            found[name][tuple(arguments)] = None
    return {name: list(calls)[-OF_EACH:] for name, calls in found.items()}


def _unescaped(quoted: bytes) -> bytes:
    return codecs.escape_decode(quoted)[0]  # pyright: ignore


def processor_ms(client: Any, pid: int, calls: Calls) -> dict[str, float]:
    """Function -> ms of the processor that its longest call takes, its round trip included."""
    schedstat = Path(f"/proc/{pid}/schedstat")

    def took(arguments: Sequence[bytes]) -> float:
        tries: list[float] = []
        for _ in range(TRIES):
            before = int(schedstat.read_text().split()[0])
            client.execute_command("FCALL", *arguments)
            tries.append((int(schedstat.read_text().split()[0]) - before) / 1e6)
        return sorted(tries)[TRIES // 2]

    return {name: max(map(took, of)) for name, of in calls.items()}

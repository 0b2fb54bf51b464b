"""What a caller may send to reach the worker's routes of a model host, and how one tells that it did not."""

import socket
from dataclasses import dataclass

from workers.wire.messages import MEDIA_TYPE

ROUTES = (
    ("GET", "state"),
    ("POST", "slots?wait=0"),
    ("DELETE", "jobs/victim"),
    ("POST", "jobs/intruder"),
    ("POST", "hot-reload"),
    ("GET", "kingpost/state"),  # as these routes were called once
    ("POST", "kingpost/jobs/intruder"),
)
# Words that only an answer of a private route holds.
SIGNS = (MEDIA_TYPE.encode(), b'"slots"', b'"slot"', b"stopping", b"Hot reload", b"is not ready")


def spellings(route: str) -> list[str]:
    """The route without its first slash, written in all the ways that a lenient server might take for it."""
    path, mark, query = route.partition("?")
    coded = "".join(f"%{ord(letter):02x}" for letter in path)
    written = [
        path,
        f"%{ord(path[0]):02x}{path[1:]}",
        f"%25{ord(path[0]):02x}{path[1:]}",
        coded,
        coded.replace("%", "%25"),
        path.replace("/", "%2F"),
        path.replace("/", "%252F"),
        path.replace("/", "//"),
        path.replace("/", "/./"),
        path.replace("/", "\\"),
        path.upper(),
        *(f"{path}{end}" for end in ("/", "%2F", "%3F", "%23", "%00", ";x", "/.", "%20")),
        *(f"{start}{path}" for start in ("/", "//", "./", "../", "%2e/", "%2e%2e/", "%2F", "\\")),
        *(f"x/{up}/{path}" for up in ("..", "%2e%2e", "%252e%252e", ".%2e")),
    ]
    return [f"{spelt}{mark}{query}" for spelt in dict.fromkeys(written)]


ATTEMPTS = [(method, spelt) for method, route in ROUTES for spelt in spellings(route)]


@dataclass(frozen=True)
class Said:
    """An answer as it came, byte by byte."""

    status: int
    raw: bytes

    @property
    def is_private(self) -> bool:
        """Whether a route of the worker answered."""
        return any(sign in self.raw for sign in SIGNS)


def ask(address: tuple[str, int] | str, method: str, target: str, *headers: str) -> Said:
    """Sends the target as it is: a client library would tidy it up. The address is a Unix socket's path or host and port."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    lines = [f"{method} {target} HTTP/1.1", "host: host", "connection: close", *headers]
    with socket.socket(family) as connection:
        connection.settimeout(30)
        connection.connect(address)
        head = "\r\n".join([*lines, "content-length: 2", "", ""])
        connection.sendall(head.encode() + b"{}")
        raw = b"".join(iter(lambda: connection.recv(65536), b""))
    return Said(int(raw.split()[1]), raw)

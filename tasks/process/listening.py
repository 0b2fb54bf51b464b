"""Where parts listen: the API's sockets, and the TCP address and ports of model hosts."""

import ipaddress
import socket

from tasks.errors import SettingsError
from tasks.outside_text import whole_number

ANY_PORT = range(1)  # port 0: the kernel chooses


def check_address(text: str, public_allowed: bool) -> None:
    """Raises SettingsError for an address that others cannot reach, and for a public one that is not allowed."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise SettingsError(f"KINGPOST_HOST_ADDRESS must be an IP address, not {text!r}.") from None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    address = mapped or address
    if address.is_unspecified or address.is_multicast:
        raise SettingsError(
            f"KINGPOST_HOST_ADDRESS must be the address that the API reaches, not {text}."
        )
    if address.is_global and not public_allowed:
        raise SettingsError(
            f"KINGPOST_HOST_ADDRESS {text} is public, and what goes there is not encrypted: use a "
            "private network, or set KINGPOST_HOST_ALLOW_PUBLIC=1."
        )


def ports(text: str) -> range:
    """The ports that `9000-9063` or `9000` means; an empty text means any port. Raises SettingsError."""
    if not text:
        return ANY_PORT
    first, dash, last = text.partition("-")
    lowest, highest = whole_number(first), whole_number(last if dash else first)
    if lowest and highest and lowest <= highest <= 65535:
        return range(lowest, highest + 1)
    raise SettingsError(f"KINGPOST_HOST_PORTS must be like 9000-9063, not {text!r}.")


def bound(host: str, port: int) -> list[socket.socket]:
    """A socket for each address of that host, bound and not listening yet, with the options that asyncio sets. Raises OSError."""
    given = {"type": socket.SOCK_STREAM, "flags": socket.AI_PASSIVE}
    found = dict.fromkeys(socket.getaddrinfo(host or None, port, **given))
    made: list[socket.socket] = []
    refused: OSError | None = None
    for family, kind, protocol, _, address in found:
        try:
            made.append(_bound(socket.socket(family, kind, protocol), address))
        except OSError as error:  # such as ::1 where there is no IPv6; another address may do
            refused = error
    if not made and refused:
        raise refused
    return made


def _bound(made: socket.socket, address: tuple[object, ...]) -> socket.socket:
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if made.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made

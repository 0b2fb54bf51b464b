"""Where model hosts may listen over TCP: one literal address of a private network, ports of a range."""

import ipaddress

from tasks.errors import SettingsError
from tasks.outside_text import whole_number

ANY_PORT = range(1)  # the kernel chooses


def check_address(text: str, public_allowed: bool) -> None:
    """Raises SettingsError for what others cannot be told, and for a public address nobody asked for."""
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
    """`9000-9063`, or `9000`, or nothing for any. Raises SettingsError."""
    if not text:
        return ANY_PORT
    first, dash, last = text.partition("-")
    lowest, highest = whole_number(first), whole_number(last if dash else first)
    if lowest and highest and lowest <= highest <= 65535:
        return range(lowest, highest + 1)
    raise SettingsError(f"KINGPOST_HOST_PORTS must be like 9000-9063, not {text!r}.")

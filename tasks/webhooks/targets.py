"""Decides to which URLs a webhook may go.

The API checks the URL at submission. The sender checks the resolved address at each connection. The table of addresses is our own,
because `ipaddress.is_global` counts multicast, NAT64 and 6to4 addresses as global.
"""

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from tasks.settings import Settings

NOT_PUBLIC = "is not a public address"
LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
NUMBER = re.compile("[0-9]+")
LONGEST_NAME = 253  # characters, by DNS
PORTS = frozenset({80, 443})

_DENIED_V4 = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
]
# Only global unicast (2000::/3) may be reached, less what embeds or borders on IPv4 and documentation.
_ALLOWED_V6 = ipaddress.ip_network("2000::/3")
_DENIED_V6 = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "2620:4f:8000::/48"]

DENIED = [ipaddress.ip_network(network) for network in (*_DENIED_V4, *_DENIED_V6)]


def is_denied(address: str) -> bool:
    """Whether a resolved IP address is off limits."""
    try:
        ip = ipaddress.ip_address(
            address.partition("%")[0]
        )  # without the zone id of an IPv6 address
    except ValueError:
        return True
    if isinstance(ip, ipaddress.IPv6Address) and ip not in _ALLOWED_V6:
        return True
    return any(ip in network for network in DENIED if network.version == ip.version)


def refusal(url: str, settings: Settings) -> str:
    """Why this URL can never work, '' if it may. The address behind a name is checked only when the sender connects."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return str(error)
    if parts.scheme != "https" and not (parts.scheme == "http" and settings.webhook_allow_http):
        return "only https is allowed"
    if parts.username is not None or parts.password is not None:
        return "user and password are not sent"
    if not settings.webhook_allow_private:
        port = port or (443 if parts.scheme == "https" else 80)
        if port not in PORTS:
            return f"port {port} is not 443 or 80"
    return _host_refusal(parts, settings)


def _host_refusal(parts: SplitResult, settings: Settings) -> str:
    host = parts.hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "" if _is_name(host) else f"{host!r} is neither a name nor an address"
    denied = not settings.webhook_allow_private and is_denied(host)
    return f"{host} {NOT_PUBLIC}" if denied else ""


def _is_name(host: str) -> bool:
    """Whether a name can be in DNS: labels of letters, digits and hyphens. A name that ends in a number is a wrong address."""
    labels = host.removesuffix(".").split(".")
    if len(host) > LONGEST_NAME or not all(LABEL.fullmatch(label) for label in labels):
        return False
    return not NUMBER.fullmatch(labels[-1])

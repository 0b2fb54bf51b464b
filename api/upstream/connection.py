"""Connections to model hosts: a Unix socket on this machine, TCP from another one."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from deployments.host_address import HostAddress
from deployments.http_client.connection import Connection
from deployments.silence import end_if_silent

AnyProtocol = TypeVar("AnyProtocol", bound=asyncio.Protocol)


async def connect(address: HostAddress, seconds: float) -> Connection:
    """Opens a connection to a model host. Raises OSError (TimeoutError is one)."""
    return (await reach(address, seconds, Connection))[1]


async def reach(
    address: HostAddress, seconds: float, factory: Callable[[], AnyProtocol]
) -> tuple[asyncio.Transport, AnyProtocol]:
    """The same for any protocol."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(seconds):
        if not address.token:
            return await loop.create_unix_connection(factory, address.address)
        transport, protocol = await loop.create_connection(factory, *address.endpoint)
    end_if_silent(transport)
    return transport, protocol

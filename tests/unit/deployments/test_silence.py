"""A peer that reads slowly is not a peer that is gone. `tests/contract/api/test_two_machines.py` has the machines that are gone."""

import asyncio
import socket

import pytest

from deployments import silence
from tests.conditions import wait_until

MEGABYTES = 64


async def test_a_peer_that_reads_nothing_for_long_keeps_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(silence, "LOOK_SECONDS", 0.05)
    # Above the half second in which the kernel answers only one probe (tcp_invalid_ratelimit).
    monkeypatch.setattr(silence, "UNACKNOWLEDGED_SECONDS", 1.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        loop = asyncio.get_running_loop()
        _, writer = await asyncio.open_connection(*server.getsockname())
        peer, _ = await loop.sock_accept(server)
        with peer:
            silence.end_if_silent(writer.transport)
            writer.write(bytes(MEGABYTES << 20))
            connection = writer.get_extra_info("socket")
            async with asyncio.timeout(60):
                # 0.2, 0.4, 0.8, 1.6 s without a byte read
                await asyncio.to_thread(wait_until, lambda: _probes_doubled(connection) >= 4, 30)
                assert not writer.transport.is_closing()
                received = 0
                while received < MEGABYTES << 20:
                    received += len(await loop.sock_recv(peer, 1 << 20))
        writer.close()


def _probes_doubled(connection: socket.socket) -> int:
    """How often the kernel has doubled its wait between two looks at the closed window: `tcpi_backoff`."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 5)[4]

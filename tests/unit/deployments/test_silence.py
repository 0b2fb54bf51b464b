"""A peer that is gone, by what the kernel says of it, and one that only reads slowly. `tests/contract/api/test_two_machines.py` loses machines for real."""

import asyncio
import socket

import pytest

from api.upstream.connection import connect
from deployments import silence
from deployments.host_address import HostAddress
from deployments.http_client.connection import BrokenCall
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


@pytest.mark.parametrize(
    ("repeats", "seconds", "ends"), [(2, 100.0, True), (2, 0.0, False), (0, 100.0, False)]
)
async def test_a_call_ends_when_the_kernel_repeats_and_nobody_answers(
    monkeypatch: pytest.MonkeyPatch, repeats: int, seconds: float, ends: bool
) -> None:
    looks = list[socket.socket]()

    def said(connection: socket.socket) -> silence.Unacknowledged:
        looks.append(connection)
        return silence.Unacknowledged(repeats, seconds)

    monkeypatch.setattr(silence, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(silence, "UNACKNOWLEDGED_SECONDS", 0.05)
    monkeypatch.setattr(silence.Unacknowledged, "of", said)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = HostAddress("{}:{}".format(*server.getsockname()), "token")
        connection = await connect(address, 2)
        call = asyncio.create_task(connection.call("GET", "/", [], None))
        await asyncio.to_thread(wait_until, lambda: connection.lost or len(looks) > 30)
        assert connection.lost is ends
        connection.close()
        with pytest.raises(BrokenCall):
            await call

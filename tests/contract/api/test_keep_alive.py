"""Connections between two requests: a balancer keeps one for 60 s, so the API must not be the first to close it."""

import http.client
import socket
from pathlib import Path

from tasks.settings import Settings
from tests.attack.stand import request, standing


def test_a_connection_is_kept_for_longer_than_balancers_keep_theirs() -> None:
    assert Settings.model_fields["keep_alive_seconds"].default >= 75


def test_the_setting_says_for_how_long_the_api_keeps_a_connection_without_requests(
    tmp_path: Path,
) -> None:
    """Two requests share a connection, which the API then closes by itself."""
    with (
        standing(tmp_path, most=50, KINGPOST_KEEP_ALIVE_SECONDS="2") as stand,
        socket.create_connection(stand.address, timeout=60) as connection,
    ):
        for _ in range(2):
            connection.sendall(request("/health/live"))
            with http.client.HTTPResponse(connection) as answer:
                answer.begin()
                assert (answer.status, answer.read()) == (200, b'{"status":"live"}')
        assert connection.recv(65536) == b""  # the API closed it

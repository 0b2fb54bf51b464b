"""An API that runs out of file descriptors: it says so, keeps some for itself, and is well again when there are more."""

import contextlib
import socket
from collections.abc import Iterator

import httpx
import pytest

from tasks.process.descriptors import KEPT, SHORT
from tests.attack.stand import Stand, standing
from tests.conditions import wait_until
from tests.faults import descriptors_left


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with standing(tmp_path_factory.mktemp("descriptors"), most=200, limit=400) as made:
        yield made


def ready(stand: Stand) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{stand.port}/health/ready", timeout=20)


def well_again(stand: Stand) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return ready(stand).status_code == 200
    return False


def test_a_low_limit_is_said_with_what_it_allows(stand: Stand) -> None:
    assert (
        "The limit of file descriptors is low, so the API takes only 150 connections at once"
        " (KINGPOST_MAX_CONNECTIONS: 200); raise it with `ulimit -n`."
        in stand.process.log.read_text()
    )


def test_an_api_with_few_left_is_not_ready_and_says_why(stand: Stand) -> None:
    with descriptors_left(stand.process.pid, SHORT - 5):
        answer = ready(stand)
        assert answer.status_code == 503
        assert "file descriptors" in answer.json()["error"]
        assert httpx.get(f"http://127.0.0.1:{stand.port}/health/live").status_code == 200
    assert ready(stand).status_code == 200


@pytest.mark.parametrize("count", [KEPT - 5, 1])
def test_clients_are_cut_before_the_last_ones_are_taken_and_it_recovers(
    stand: Stand, count: int
) -> None:
    log = stand.process.log
    with descriptors_left(stand.process.pid, count), contextlib.ExitStack() as stack:
        before = log.stat().st_size
        for _ in range(60):  # nobody is kept waiting in silence
            client = socket.create_connection(("127.0.0.1", stand.port), timeout=20)
            stack.enter_context(client)
            client.sendall(b"GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(httpx.HTTPError):
            ready(stand)
        assert log.stat().st_size - before < 20_000
    wait_until(lambda: well_again(stand), 20)
    assert stand.process.popen and stand.process.popen.poll() is None

"""The worker's end of the Unix socket: calls on one connection, answers however they are cut."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.payloads import Payloads
from tasks.settings import Settings
from workers.hosting.client import HostClient, HostUnavailable, state
from workers.hosting.connection import HostConnection
from workers.hosting.spool import Spool
from workers.wire.calls import RunJob

SIZED = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
LAST = b"HTTP/1.1 409 Conflict\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello"
WAIT = 5.0  # s


class Peer:
    """A server that answers the calls of its connections with the given bytes, in order."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.calls: list[list[bytes]] = []  # of each connection
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self.path)
        self._listening.listen()

    def serve(self, *answers: bytes | list[bytes]) -> None:
        """One connection in a thread; a list is sent piece by piece."""
        threading.Thread(target=self._serve, args=(answers,), daemon=True).start()

    def _serve(self, answers: tuple[bytes | list[bytes], ...]) -> None:
        accepted, _ = self._listening.accept()
        accepted.settimeout(WAIT)
        self.calls.append([])
        with accepted:
            for answer in answers:
                self.calls[-1].append(_whole_call(accepted))
                for piece in answer if isinstance(answer, list) else [answer]:
                    accepted.sendall(piece)

    def close(self) -> None:
        self._listening.close()


def _whole_call(accepted: socket.socket) -> bytes:
    """What comes, to the last chunk when it comes in chunks."""
    call = accepted.recv(65536)
    while b"chunked" in call and not call.endswith(b"0\r\n\r\n"):
        call += accepted.recv(65536)
    return call


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    with contextlib.closing(Peer(tmp_path / "s")) as made:
        yield made


@pytest.fixture
def connection(peer: Peer) -> Iterator[HostConnection]:
    with contextlib.closing(HostConnection(peer.path, WAIT)) as made:
        yield made


def ask(connection: HostConnection, body: bytes = b"") -> tuple[int, bytes]:
    connection.request("POST", "/x", body, {"a": "1"})
    response = connection.response()
    return response.status, response.read()


def test_a_call_is_one_send_and_the_connection_is_kept(
    peer: Peer, connection: HostConnection
) -> None:
    peer.serve(SIZED, CHUNKED)
    assert ask(connection, b"{}") == (200, b"hello")
    assert ask(connection) == (200, b"hello")
    call = b"POST /x HTTP/1.1\r\nhost: host\r\na: 1\r\ncontent-length: %d\r\n\r\n%b"
    assert peer.calls == [[call % (2, b"{}"), call % (0, b"")]]


@pytest.mark.parametrize("answer", [SIZED, CHUNKED])
def test_an_answer_may_come_byte_by_byte(
    peer: Peer, connection: HostConnection, answer: bytes
) -> None:
    peer.serve([answer[at : at + 1] for at in range(len(answer))], SIZED)
    assert ask(connection)[1] == b"hello"
    assert ask(connection)[1] == b"hello"


def test_a_connection_that_the_host_ends_is_opened_again(
    peer: Peer, connection: HostConnection
) -> None:
    peer.serve(LAST)
    assert ask(connection) == (409, b"hello")
    peer.serve(SIZED)
    assert ask(connection)[0] == 200
    assert len(peer.calls) == 2


@pytest.mark.parametrize("cut", [0, 10, len(SIZED) - 1, len(CHUNKED) - 3])
@pytest.mark.parametrize("answer", [SIZED, CHUNKED])
def test_an_answer_that_breaks_off_is_an_error(
    peer: Peer, connection: HostConnection, answer: bytes, cut: int
) -> None:
    peer.serve(answer[: min(cut, len(answer) - 1)])
    with pytest.raises(ConnectionError):
        ask(connection)


def test_what_is_no_http_is_an_error(peer: Peer, connection: HostConnection) -> None:
    peer.serve(b"SSH-2.0-nobody\r\n\r\n")
    with pytest.raises(ConnectionError):
        ask(connection)


def test_early_hints_come_before_the_answer(peer: Peer, connection: HostConnection) -> None:
    peer.serve(b"HTTP/1.1 103 Early Hints\r\nContent-Type: x/y\r\n\r\n" + SIZED)
    assert ask(connection) == (200, b"hello")


@pytest.mark.parametrize("said", [SIZED + SIZED, b"HTTP/1.1 101 x\r\nupgrade: x\r\n\r\n"])
def test_a_second_answer_and_another_protocol_are_errors(
    peer: Peer, connection: HostConnection, said: bytes
) -> None:
    peer.serve(said)
    with pytest.raises(ConnectionError):
        ask(connection)


def test_a_header_with_a_line_break_is_refused(connection: HostConnection) -> None:
    with pytest.raises(ValueError, match="line break"):
        connection.request("POST", "/x", b"", {"a": "1\r\nb: 2"})


def test_an_input_of_unknown_length_goes_in_chunks(peer: Peer, connection: HostConnection) -> None:
    peer.serve(SIZED)
    connection.request("POST", "/x", iter([b"one", b"", b"two"]))
    assert connection.response().read() == b"hello"


def test_a_host_whose_answer_cannot_be_read_is_a_host_that_is_gone(peer: Peer) -> None:
    """The worker then ends the attempt as after a death, instead of losing its thread to an odd byte."""
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"
    for wire in (b"E\0\0\0\x02{}", b"HTTP/1.1 200 OK"):
        peer.serve(head % len(wire) + wire)
        client = HostClient(peer.path)
        output = Spool(Payloads(Settings()), "ref", 100, before_spill=lambda: None)
        with pytest.raises(HostUnavailable, match="cannot be read"):
            client.run(RunJob("a1"), b"", output, lambda _: None)
        client.close()
    peer.serve(head % 2 + b"{}")
    assert state(peer.path) is None

"""The gate byte by byte: what the host gets, whom it refuses, and that it waits for who reads slowly."""

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.host_address import TOKEN_HEADER
from tasks.settings import Settings
from tests.conditions import wait_until
from workers.gate import connection as host_door_calls
from workers.gate.gate import HostGate

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Host:
    """A Unix socket that keeps what it gets and answers when it is told to."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "host.sock")
        self.got: list[bytes] = []
        self.connections: list[socket.socket] = []
        self.reading = threading.Event()
        self.reading.set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def all(self) -> bytes:
        return b"".join(self.got)

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            self.connections.append(connection)
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        while self.reading.wait() and (data := connection.recv(65536)):
            self.got.append(data)
        self.got.append(b"<closed>")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def gate(host: Host) -> Iterator[HostGate]:
    gate = HostGate(host.path, Settings(host_address="127.0.0.1"))
    gate.start()
    yield gate
    gate.stop()


def connect(gate: HostGate, source: str = "127.0.0.1") -> socket.socket:
    address, _, port = gate.address.rpartition(":")
    return socket.create_connection((address, int(port)), 10, (source, 0))


def request(
    gate: HostGate, *lines: str, first: str = "POST /predict HTTP/1.1", token: str | None = None
) -> bytes:
    said = [first, "Host: host", f"X-Kingpost-Host-Token: {token or gate.token}", *lines]
    return "\r\n".join([*said, "", ""]).encode()


def rest(connection: socket.socket) -> bytes:
    """All that still comes, up to the end."""
    pieces: list[bytes] = []
    try:
        while data := connection.recv(65536):
            pieces.append(data)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


def test_the_host_gets_the_request_without_the_token(gate: HostGate, host: Host) -> None:
    with connect(gate) as caller:
        caller.sendall(request(gate, "Content-Length: 3", "X-Own: a, b") + b"abc")
        expected = (
            b"POST /predict HTTP/1.1\r\nHost: host\r\nContent-Length: 3\r\nX-Own: a, b\r\n\r\nabc"
        )
        wait_until(lambda: host.all == expected)
        host.connections[0].sendall(ANSWER)
        assert caller.recv(4096) == ANSWER
    wait_until(lambda: host.got[-1] == b"<closed>")


def test_bytes_that_come_one_by_one_and_requests_that_come_at_once(
    gate: HostGate, host: Host
) -> None:
    said = request(gate, "Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\nTrailer: x\r\n\r\n"
    with connect(gate) as caller:
        for byte in said:
            caller.send(bytes([byte]))
        wait_until(lambda: host.all.endswith(b"0\r\n\r\n"))
        one_by_one = host.all
        chunks = one_by_one.partition(b"\r\n\r\n")[2]
        assert b"".join(re.findall(rb"[123]\r\n([abc]+)\r\n", chunks)) == b"abc"
        host.got.clear()
        caller.sendall(said + request(gate, first="GET /a%20b?c=d HTTP/1.1"))
        ends = b"3\r\nabc\r\n0\r\n\r\nGET /a%20b?c=d HTTP/1.1\r\nHost: host\r\n\r\n"
        wait_until(lambda: host.all.endswith(ends))
    assert len(host.connections) == 1


def test_every_request_of_a_connection_needs_the_token(gate: HostGate, host: Host) -> None:
    with connect(gate) as caller:
        caller.sendall(request(gate, first="GET /first HTTP/1.1"))
        wait_until(lambda: host.all.endswith(b"\r\n\r\n"))
        caller.sendall(request(gate, first="GET /second HTTP/1.1", token="other"))
        assert rest(caller).startswith(b"HTTP/1.1 401 ")
    wait_until(lambda: host.got[-1] == b"<closed>")
    assert b"/second" not in host.all


def test_a_stranger_never_reaches_the_host(gate: HostGate, host: Host) -> None:
    for said in (
        request(gate, "Content-Length: 3", token="x") + b"abc",
        b"GET / HTTP/1.1\r\n\r\n",
        request(gate, "Upgrade: websocket", "Connection: upgrade", token="x") + b"frames",
        f"GET / HTTP/1.1\r\n{TOKEN_HEADER}: {gate.token}\r\n{TOKEN_HEADER}: x\r\n\r\n".encode(),
    ):
        with connect(gate) as caller:
            caller.sendall(said)
            assert rest(caller).startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert not host.connections


def test_after_an_upgrade_bytes_are_bytes(gate: HostGate, host: Host) -> None:
    with connect(gate) as caller:
        caller.sendall(
            request(gate, "Connection: Upgrade", "Upgrade: WebSocket", first="GET /ws HTTP/1.1")
            + b"\x81\x05first"
        )
        wait_until(lambda: host.all.endswith(b"\r\n\r\n\x81\x05first"))
        caller.sendall(b"GET /state HTTP/1.1\r\n\r\n")
        wait_until(lambda: host.all.endswith(b"state HTTP/1.1\r\n\r\n"))
        host.connections[0].sendall(b"\x88\x00")
        assert caller.recv(4096) == b"\x88\x00"
        host.connections[0].shutdown(socket.SHUT_RDWR)
        assert rest(caller) == b""


@pytest.mark.parametrize("upgrade", ["h2c", "other"])
def test_no_other_upgrade_opens_a_tunnel(gate: HostGate, host: Host, upgrade: str) -> None:
    with connect(gate) as caller:
        caller.sendall(request(gate, "Connection: Upgrade", f"Upgrade: {upgrade}"))
        assert rest(caller).startswith(b"HTTP/1.1 400 ")
    assert not host.connections


def test_without_a_host_there_is_no_answer(gate: HostGate, host: Host) -> None:
    Path(host.path).unlink()
    with connect(gate) as caller:
        caller.sendall(request(gate))
        assert rest(caller) == b""


def test_strangers_are_few_and_not_for_long(
    gate: HostGate, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_door_calls, "MOST_STRANGERS", 2)
    monkeypatch.setattr(host_door_calls, "HEAD_SECONDS", 2.0)
    with connect(gate) as first, connect(gate) as second:
        first.sendall(b"GET / HTTP/1.1\r\n")
        with connect(gate) as third:
            assert rest(first) == b""  # at once: the oldest makes room for the newest
            third.sendall(request(gate))
            wait_until(lambda: host.all.endswith(b"\r\n\r\n"))
            assert rest(second) == b""  # when its time is over


def test_silent_strangers_keep_no_token_out(gate: HostGate, host: Host) -> None:
    with contextlib.ExitStack() as open_until_the_end:
        early = open_until_the_end.enter_context(connect(gate, "127.0.0.2"))
        strangers = [open_until_the_end.enter_context(connect(gate)) for _ in range(400)]
        wait_until(lambda: sum(map(is_over, strangers)) == 401 - host_door_calls.MOST_STRANGERS)
        assert not any(map(is_over, strangers[-200:]))
        # Whoever came from another address before them is still there, and who comes now gets in.
        for caller in (early, open_until_the_end.enter_context(connect(gate))):
            caller.sendall(request(gate))
            wait_until(lambda: host.all.endswith(b"\r\n\r\n"))
            host.connections[-1].sendall(ANSWER)
            assert caller.recv(4096) == ANSWER
            host.got.clear()


def is_over(caller: socket.socket) -> bool:
    """Whether the other side has hung up."""
    caller.setblocking(False)
    try:
        return caller.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_who_reads_slowly_slows_the_other_side(gate: HostGate, host: Host) -> None:
    host.reading.clear()
    size = 64 << 20
    with connect(gate) as caller:
        caller.settimeout(1.0)
        sent = send_until_full(caller, request(gate, f"Content-Length: {size}"))
        assert sent < size / 2
        host.reading.set()
        caller.settimeout(10)
        caller.sendall(b"x" * (size - sent))
        wait_until(lambda: sum(map(len, host.got)) > size, 20)


def send_until_full(caller: socket.socket, head: bytes) -> int:
    """Sends a head and a body without an end until nobody takes more; how much of the body went."""
    caller.sendall(head)
    sent = 0
    try:
        while True:
            sent += caller.send(b"x" * 65536)
    except TimeoutError:
        return sent

"""The attacks. Each does its worst at a given size and answers what it measured; AssertionError when a bound did not hold."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.attack.stand import Stand, request, submitted
from tests.conditions import wait_until

UPGRADE = ("Upgrade: websocket", "Connection: Upgrade", "Content-Length: 10")


@dataclass(frozen=True)
class Attack:
    """One attack: what it is, what must hold, its size in `make test` and in `make attack`."""

    name: str
    bound: str
    run: Callable[[Stand, int], str]
    small: int
    full: int


def _held(stand: Stand) -> str:
    """A key and a health check find a place while strangers hold all that they can get."""
    assert stand.status("/v1/models", stand.smallest) == 200
    assert stand.status("/health/ready") == 200
    return f"{stand.connections()} connections held"


def _silent(stand: Stand, size: int) -> str:
    with stand.sockets(size):
        said = _held(stand)
        # The kernel's table counts a connection before the API has taken it and chosen whom to cut.
        wait_until(lambda: stand.connections() <= stand.most, 30, "silent sockets are all kept")
    return said


def _upgrades(stand: Stand, size: int) -> str:
    head = request("/production/websocket", "", *UPGRADE, method="POST")
    with stand.sockets(size, head):
        said = _held(stand)
        wait_until(lambda: stand.connections() <= 2, 30, "upgrades that never come are kept")
    return f"{said}, then none"


def _sockets_without_a_key(stand: Stand, size: int) -> str:
    headers = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    head = request(
        "/production/websocket", "", *headers, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    )
    with stand.sockets(size, head):
        said = _held(stand)
        wait_until(lambda: stand.connections() <= 2, 30, "refused WebSockets are kept")
    return f"{said}, then none"


def _never_reads(stand: Stand, size: int) -> str:
    with stand.sockets(size, request("/openapi.json") * 40, buffer=4096):
        said = _held(stand)
        wait_until(lambda: stand.connections() <= 2, 60, "who never reads is kept")
    return f"{said}, then none"


def _pipelined(stand: Stand, size: int) -> str:
    several = request("/openapi.json") * 40
    with stand.sockets(size, several):
        said = _held(stand)
    answer = stand.all_of(several)
    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"connection: close" in answer
    return said


def _one_header(stand: Stand, size: int) -> str:
    def pieces():  # type: ignore[no-untyped-def]
        yield b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Long: "
        for _ in range(size):
            yield b"a" * 65536

    answer = stand.send(pieces())
    assert answer in (b"",) or answer.startswith(b"HTTP/1.1 431"), answer
    return answer[:12].decode() or "cut"


def _many_headers(stand: Stand, size: int) -> str:
    def pieces():  # type: ignore[no-untyped-def]
        yield b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
        for _ in range(size):
            yield b"a:b\r\n" * 1000

    answer = stand.send(pieces())
    assert answer in (b"",) or answer.startswith(b"HTTP/1.1 431"), answer
    return answer[:12].decode() or "cut"


def _trailers(stand: Stand, size: int) -> str:
    def pieces():  # type: ignore[no-untyped-def]
        yield request("/production/predict", "", "Transfer-Encoding: chunked", method="POST")
        yield b"1\r\n1\r\n0\r\n"
        for _ in range(size):
            yield b"authorization: x\r\n" * 1000

    answer = stand.send(pieces())
    assert not answer or answer.startswith((b"HTTP/1.1 431", b"HTTP/1.1 401")), answer
    return answer[:12].decode() or "cut"


def _streams_of_one_key(stand: Stand, size: int) -> str:
    path = f"/async_request/{submitted(stand)}/events"
    other = stand.new_key()
    with stand.sockets(size, request(path, stand.smallest)) as opened:
        answers = [connection.recv(12) for connection in opened]
        assert stand.status("/v1/models", other) == 200
        assert stand.status("/health/ready") == 200
    taken, refused = answers.count(b"HTTP/1.1 200"), answers.count(b"HTTP/1.1 429")
    assert taken <= stand.most // 2
    assert taken + refused == size
    wait_until(lambda: stand.status("/v1/models", stand.smallest) == 200, 20)
    return f"{taken} taken, {refused} got 429"


def _garbage(stand: Stand, size: int) -> str:
    said = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
        b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        request("/production/websocket", "", *UPGRADE, method="POST") + b"0123456789",
        request("/x", "", "Upgrade: h2c", "Connection: Upgrade"),
        request("/production/websocket", "", "Upgrade: websocket", "Connection: Upgrade",
                "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: nonsense"),
        request("/production/websocket", "", "Upgrade: websocket", "Connection: Upgrade",
                "Sec-WebSocket-Version: 99", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        request("/production/websocket/\xe9", "", "Upgrade: websocket", "Connection: Upgrade",
                "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        request("/health/live", "", "Host: \x00"),
        request("/health/live") * 20,
        request("/a" * 20_000),
        b"POST /production/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /production/predict HTTP/1.1\r\nHost: x\r\nContent-Length: -3\r\n\r\n",
        b"POST /v1/models HTTP/1.1\r\nHost: http://[\r\nContent-Length: 0\r\n\r\n",
        b"GET /docs HTTP/1.1\r\nHost: a/b?c#d\r\n\r\n",
    ]  # fmt: skip
    for _ in range(size):
        for piece in said:
            stand.send(iter([piece]))
    log = stand.log()
    assert "Traceback" not in log, log[log.index("Traceback") - 200 :][:3000]
    assert stand.status() == 200
    return f"{size * len(said)} requests, no traceback"


def _json_bomb(stand: Stand, size: int) -> str:
    """A tree of it would take thirty times its bytes."""
    bomb = b'{"messages": [' + b"[]," * (size * 1_000_000 // 3) + b'[]], "model": "nobody"}'
    with stand.client() as client:
        assert client.post("/v1/chat/completions", content=bomb).status_code == 404
        unfinished = bomb[:-30]  # the field never comes
        assert client.post("/v1/chat/completions", content=unfinished).status_code == 400
        assert client.post("/v1/chat/completions", content=bomb * 6).status_code == 413
    return f"{size} MB read, more refused"


ATTACKS = [
    Attack("silent sockets", "a key and health find a place", _silent, 120, 2010),
    Attack("POSTs that ask for a WebSocket", "gone by the deadline", _upgrades, 120, 2010),
    Attack("WebSockets without a key", "refused at once", _sockets_without_a_key, 120, 2010),
    Attack("/openapi.json that nobody reads", "cut after 10 s", _never_reads, 60, 2010),
    Attack("pipelined requests", "one answer, then closed", _pipelined, 60, 2010),
    Attack("one endless header", "64 KB, 431", _one_header, 160, 960),
    Attack("endlessly many headers", "200, 431", _many_headers, 20, 4000),
    Attack("endless trailers", "64 KB", _trailers, 20, 1000),
    Attack("event streams of one key", "half of the connections", _streams_of_one_key, 70, 1995),
    Attack("JSON bomb at /v1", "20 MB, 413; no tree is built", _json_bomb, 4, 19),
    Attack("garbage", "no traceback in the log", _garbage, 1, 60),
]

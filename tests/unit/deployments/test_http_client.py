"""What all who call over HTTP share: bytes of answers, however they are cut and whatever is wrong with them."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from deployments.http_client.exchange import (
    BARE_BYTES,
    CHUNKED,
    LAST_CHUNK,
    AnswerError,
    AnswerReader,
    RawHeaders,
    chunk,
    request_head,
    sized,
)

OK = b"HTTP/1.1 200 OK\r\n"
SIZED = OK + b"Content-Type: a/b\r\nx-a: 1\r\nX-A: 2\r\ncontent-length: 5\r\n\r\nhello"
STREAMED = OK + b"transfer-encoding: chunked\r\n\r\n"
CHUNKS = STREAMED + b"3;note=x\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
TRAILED = STREAMED + b"5\r\nhello\r\n0\r\nx-sum: 1\r\nset-cookie: a=b\r\n\r\n"
HINTS = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
KEEPS = b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello"
OLD = b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello"
LAST = OK + b"connection: close\r\ncontent-length: 5\r\n\r\nhello"
NOTHING = b"HTTP/1.1 204 No Content\r\n\r\n"
UNCHANGED = b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"

BAD = {
    "no HTTP": b"SSH-2.0-nobody\r\n\r\n",
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00d",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a status without digits": b"HTTP/1.1 OK\r\n\r\n",
    "a name with a space": OK + b"con tent: 1\r\n\r\n",
    "no name": OK + b": 1\r\n\r\n",
    "a value with a bare return": OK + b"x: a\rb\r\n\r\n",
    "a value with a null": OK + b"x: a\x00b\r\n\r\n",
    "a folded value": OK + b"x: a\r\n\x00b: c\r\n\r\n",
    "two lengths": OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    "a length below zero": OK + b"content-length: -5\r\n\r\nhello",
    "a length that is no number": OK + b"content-length: 0x5\r\n\r\nhello",
    "a length beyond 64 bits": OK + b"content-length: 18446744073709551616\r\n\r\n",
    "a length and chunks": OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\nhello",
    "a chunk without a size": STREAMED + b"\r\nhello\r\n0\r\n\r\n",
    "a chunk size that is no number": STREAMED + b"5g\r\nhello\r\n0\r\n\r\n",
    "a chunk size below zero": STREAMED + b"-5\r\nhello\r\n0\r\n\r\n",
    "a chunk size beyond 64 bits": STREAMED + b"1" + b"0" * 16 + b"\r\nhello",
    "a chunk longer than it says": STREAMED + b"4\r\nhello\r\n0\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 x\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n\x81\x05hello",
}


@dataclass
class Read:
    """What a reader understood."""

    status: int
    headers: RawHeaders
    body: bytes
    reusable: bool


def read(pieces: list[bytes], method: str = "GET", reader: AnswerReader | None = None) -> Read:
    """The answer in these pieces, which has to be complete, with nothing after it."""
    reader, body = reader or AnswerReader(), b""
    reader.begin(method)
    for piece in pieces:
        reader.feed(piece)
        body += reader.take()
    assert reader.complete
    assert not reader.excess
    return Read(reader.status, reader.headers, body, reader.reusable)


def feed(reader: AnswerReader, pieces: Iterable[bytes]) -> None:
    """One after the other."""
    for piece in pieces:
        reader.feed(piece)


def singles(said: bytes) -> list[bytes]:
    """Byte by byte."""
    return [said[at : at + 1] for at in range(len(said))]


@pytest.mark.parametrize(
    ("said", "status", "body", "reusable"),
    [
        (SIZED, 200, b"hello", True),
        (CHUNKS, 200, b"hello", True),
        (TRAILED, 200, b"hello", True),
        (HINTS + SIZED, 200, b"hello", True),
        (HINTS + TRAILED, 200, b"hello", True),
        (KEEPS, 200, b"hello", True),
        (OLD, 200, b"hello", False),
        (LAST, 200, b"hello", False),
        (NOTHING, 204, b"", True),
        (UNCHANGED, 304, b"", True),
    ],
)
def test_an_answer_means_the_same_wherever_it_is_cut(
    said: bytes, status: int, body: bytes, reusable: bool
) -> None:
    whole = read([said])
    assert (whole.status, whole.body, whole.reusable) == (status, body, reusable)
    assert read(singles(said)) == whole
    for at in range(1, len(said)):
        assert read([said[:at], said[at:]]) == whole, at


def test_headers_are_those_of_the_answer_in_their_order_and_no_trailers() -> None:
    assert read([HINTS + SIZED]).headers == [
        (b"content-type", b"a/b"),
        (b"x-a", b"1"),
        (b"x-a", b"2"),
        (b"content-length", b"5"),
    ]
    assert read([HINTS + TRAILED]).headers == [(b"transfer-encoding", b"chunked")]


def test_answers_follow_each_other_on_a_connection_whatever_was_asked_before() -> None:
    reader = AnswerReader()
    head = SIZED.removesuffix(b"hello")
    for said, method in [(CHUNKS, "GET"), (head, "HEAD"), (SIZED, "PUT"), (NOTHING, "HEAD")] * 2:
        answer = read(singles(said), method, reader)
        assert answer.reusable
        assert answer.body == (b"" if method == "HEAD" else b"hello")


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_answer_is_one_error_wherever_it_is_cut(what: str) -> None:
    said = BAD[what]
    for pieces in ([said], singles(said), *([said[:at], said[at:]] for at in range(1, len(said)))):
        reader = AnswerReader()
        reader.begin("GET")
        with pytest.raises(AnswerError):
            feed(reader, pieces)
        assert not reader.reusable


def test_an_error_says_what_is_wrong() -> None:
    reader = AnswerReader()
    for said, sentence in [(b"another protocol", "another protocol"), (b"no HTTP", "HTTP/")]:
        reader.begin("GET")
        with pytest.raises(AnswerError, match=sentence):
            reader.feed(BAD[said.decode()])


@pytest.mark.parametrize("said", [SIZED, CHUNKS, TRAILED, HINTS + SIZED, NOTHING])
@pytest.mark.parametrize("second", [SIZED, LAST, HINTS, b"\x00", b"junk"])
def test_what_follows_an_answer_belongs_to_nobody(said: bytes, second: bytes) -> None:
    """The answer stands, and the connection has no other."""
    for pieces in ([said + second], [said, second], singles(said + second)):
        reader, body = AnswerReader(), b""
        reader.begin("GET")
        for piece in pieces:
            reader.feed(piece)
            body += reader.take()
        assert reader.status == read([said]).status
        assert body == read([said]).body
        assert reader.headers == read([said]).headers
        assert reader.excess
        assert not reader.reusable


def test_what_comes_before_a_call_is_no_answer_to_it() -> None:
    reader = AnswerReader()
    reader.feed(SIZED)
    assert reader.excess
    assert reader.status == 0


@pytest.mark.parametrize("said", [SIZED, CHUNKS])
def test_a_body_in_an_answer_to_head_is_none(said: bytes) -> None:
    for pieces in ([said], singles(said)):
        reader = AnswerReader()
        reader.begin("HEAD")
        feed(reader, pieces)
        assert (reader.complete, reader.excess, reader.take()) == (True, True, b"")
        assert not reader.reusable


def test_a_connection_is_not_used_again_while_something_of_its_answer_is_left() -> None:
    """The next caller would get it before its own."""
    reader = AnswerReader()
    reader.begin("GET")
    reader.feed(CHUNKS)
    assert reader.complete
    assert not reader.reusable
    assert reader.take_pieces() == [b"hel", b"lo"]
    assert reader.reusable


@pytest.mark.parametrize(
    ("said", "ends"),
    [
        (OK + b"\r\nhello", True),
        (b"HTTP/1.0 200 OK\r\n\r\n", True),
        (HINTS + OK + b"\r\nhello", True),
        (NOTHING, True),
        (b"", False),
        (HINTS, False),
        (OK + b"x: 1\r\n", False),
        (SIZED[:-1], False),
        (CHUNKS[:-1], False),
        (OK + b"transfer-encoding: gzip\r\n\r\nhello", False),
    ],
)
def test_the_end_of_the_connection_ends_an_answer_without_a_length_and_no_other(
    said: bytes, ends: bool
) -> None:
    reader = AnswerReader()
    reader.begin("GET")
    reader.feed(said)
    assert reader.end_by_close() is ends
    reader.take()
    assert not reader.reusable or said == NOTHING


@pytest.mark.parametrize(
    ("first", "repeated"),
    [
        (OK, b"x-long: " + b"a" * 1000 + b"\r\n"),
        (OK + b"x-endless: ", b"a" * 1000),
        (b"", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"),
        (STREAMED + b"1;", b"a" * 1000),
        (STREAMED + b"0\r\n", b"x-trailer: " + b"a" * 1000 + b"\r\n"),
        (STREAMED + b"0\r\nx-endless: ", b"a" * 1000),
    ],
)
def test_what_comes_without_end_and_is_no_body_is_an_error(first: bytes, repeated: bytes) -> None:
    reader = AnswerReader()
    reader.begin("GET")
    reader.feed(first)
    allowed = BARE_BYTES // len(repeated) - 1
    feed(reader, itertools.repeat(repeated, allowed))
    with pytest.raises(AnswerError, match="none of them was of a body"):
        feed(reader, itertools.repeat(repeated, 3))


def test_a_body_may_be_longer_than_any_head() -> None:
    reader, came = AnswerReader(), 0
    reader.begin("GET")
    reader.feed(STREAMED)
    while came < 2 * BARE_BYTES:
        for piece in (b"1000\r\n", b"a" * 0x1000, b"\r\n"):
            reader.feed(piece)
        came += len(reader.take())
    reader.feed(LAST_CHUNK)
    assert reader.reusable


def test_a_request_is_what_it_says() -> None:
    headers = [(b"host", b"a.b"), (b"x-a", b"1"), (b"x-a", b"2")]
    lines = b"host: a.b\r\nx-a: 1\r\nx-a: 2\r\n"
    assert request_head("GET", "/a?b=c", headers) == b"GET /a?b=c HTTP/1.1\r\n%b\r\n" % lines
    assert (
        request_head("PUT", "/é", [], sized(4))
        == "PUT /é HTTP/1.1\r\ncontent-length: 4\r\n\r\n".encode()
    )
    streamed = request_head("POST", "/", headers, CHUNKED)
    assert streamed == b"POST / HTTP/1.1\r\n%btransfer-encoding: chunked\r\n\r\n" % lines
    assert b"".join([*chunk(b"x" * 17), LAST_CHUNK]) == b"11\r\n%b\r\n0\r\n\r\n" % (b"x" * 17)

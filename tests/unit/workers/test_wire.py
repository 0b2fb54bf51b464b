"""What worker and host say, byte by byte; whatever else comes is refused, however the bytes are cut."""

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.wire.calls import (
    AcquireSlot,
    AskState,
    CancelJob,
    Granted,
    HostState,
    HttpCall,
    LoadFailure,
    ReleaseSlot,
    Reload,
    RunJob,
    WorkerCall,
    decode_call,
    decode_granted,
    decode_state,
    encode_answer,
    encode_call,
)
from workers.wire.messages import (
    BODY_PIECE,
    KINDS,
    MAX_PAYLOAD,
    BodyPiece,
    End,
    Failure,
    Message,
    MessageDecoder,
    OutputChunk,
    Progress,
    Result,
    encode,
    encode_body,
)
from workers.wire.shapes import WireError

MESSAGES: list[tuple[Message, bytes]] = [
    (Progress(0.5, None), b'P\0\0\0\x1f{"fraction":0.5,"message":null}'),
    (Progress(1.0, "é"), b'P\0\0\0#{"fraction":1.0,"message":"\\u00e9"}'),
    (OutputChunk(b"\0\xff"), b"O\0\0\0\x02\0\xff"),
    (OutputChunk(b""), b"O\0\0\0\0"),
    (Failure("ValueError: no"), b'F\0\0\0\x19{"text":"ValueError: no"}'),
    (
        Result(200, {"content-type": "a/b"}, streamed=False, text=False),
        b'R\0\0\0M{"status":200,"headers":{"content-type":"a/b"},"streamed":false,"text":false}',
    ),
    (BodyPiece(b"body"), b"B\0\0\0\x04body"),
    (
        End(slot_kept=True, stopped_by=None, ms=1.5, still_running=False),
        b'E\0\0\0N{"slot_kept":true,"stopped_by":null,"ms":1.5,"still_running":false,"fault":""}',
    ),
]


@pytest.mark.parametrize(("message", "wire"), MESSAGES)
def test_every_message_byte_by_byte(message: Message, wire: bytes) -> None:
    assert encode(message) == wire
    assert MessageDecoder().feed(wire) == [message]


def test_no_message_is_left_out() -> None:
    assert {type(message) for message, _ in MESSAGES} == set(KINDS) == set(get_args(Message))
    assert {type(call) for call, _ in CALLS} == set(get_args(WorkerCall))


TEXT = st.text(max_size=20)
ANY_MESSAGE = st.one_of(
    st.builds(Progress, st.floats(0, 1), st.none() | TEXT),
    st.builds(OutputChunk, st.binary(max_size=50)),
    st.builds(Failure, TEXT),
    st.builds(
        Result, st.integers(), st.dictionaries(TEXT, TEXT, max_size=3), st.booleans(), st.booleans()
    ),
    st.builds(BodyPiece, st.binary(max_size=50)),
    st.builds(
        End, st.booleans(), st.none() | TEXT, st.floats(allow_nan=False), st.booleans(), TEXT
    ),
)


@given(st.lists(ANY_MESSAGE, max_size=6), st.data())
def test_messages_survive_any_cut(messages: list[Message], data: st.DataObject) -> None:
    wire = b"".join(encode(message) for message in messages)
    decoder, seen, start = MessageDecoder(), [], 0
    while start < len(wire):
        step = data.draw(st.integers(1, len(wire) - start))
        seen += decoder.feed(wire[start : start + step])
        start += step
    assert seen == messages
    assert decoder.empty


def test_half_a_message_is_not_empty() -> None:
    decoder = MessageDecoder()
    assert decoder.feed(encode(OutputChunk(b"abc"))[:-1]) == []
    assert not decoder.empty


def test_a_body_is_cut_into_pieces() -> None:
    sizes = [len(piece) - 5 for piece in encode_body(b"x" * (2 * BODY_PIECE + 1))]
    assert sizes == [BODY_PIECE, BODY_PIECE, 1]
    assert list(encode_body(b"")) == []


def framed(kind: bytes, payload: bytes) -> bytes:
    return kind + len(payload).to_bytes(4) + payload


MALFORMED = {
    "another protocol": (b"HTTP/1.1 200", "No frame starts with b'H'"),
    "a length that nobody sends": (b"O" + (MAX_PAYLOAD + 1).to_bytes(4), "a length of 1073741825"),
    "no JSON": (framed(b"E", b"{"), "This is no JSON: b'{'."),
    "no text": (framed(b"F", b'{"text":"\xff"}'), "This is no JSON"),
    "deep JSON": (framed(b"F", b"[" * 100_000), "This is no JSON"),
    "no object": (framed(b"F", b'["text"]'), "Expected an object of text, not"),
    "a member too few": (framed(b"P", b'{"fraction":0.5}'), "Expected an object of fraction, message"),
    "a member too many": (framed(b"F", b'{"text":"a","more":1}'), "Expected an object of text"),
    "a number for a text": (framed(b"F", b'{"text":1}'), "text cannot be 1."),
    "a text for a number": (framed(b"P", b'{"fraction":"0.5","message":null}'), "fraction cannot be 0.5."),
    "a progress beyond the end": (framed(b"P", b'{"fraction":1.5,"message":null}'), "0 to 1, not 1.5"),
    "a progress that is no number": (framed(b"P", b'{"fraction":NaN,"message":null}'), "0 to 1, not nan"),
    "a status that is true": (
        framed(b"R", b'{"status":true,"headers":{},"streamed":false,"text":false}'),
        "status cannot be True.",
    ),
    "a header that is no text": (
        framed(b"R", b'{"status":200,"headers":{"a":1},"streamed":false,"text":false}'),
        "A header of a result is no text",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", MALFORMED)
def test_anything_else_is_refused(what: str) -> None:
    wire, why = MALFORMED[what]
    with pytest.raises(WireError) as refused:
        MessageDecoder().feed(encode(OutputChunk(b"before")) + wire)
    assert why in str(refused.value)
    assert len(str(refused.value)) < 300


def test_no_progress_beyond_the_end_can_be_made() -> None:
    for fraction in (-0.1, 1.1, float("nan")):
        with pytest.raises(WireError):
            Progress(fraction, None)


WHOLE = RunJob(
    "a1", "f1", "s1", keep_slot=True, path="/v1/x", content_type="a/b", traceparent="00-1",
    chain_request_id="c1", files="f:1:png",
)  # fmt: skip
CALLS: list[tuple[WorkerCall, HttpCall]] = [
    (
        RunJob("a1", "f1"),
        HttpCall("POST", "/jobs/a1", {"x-baseten-request-id": "a1", "x-kingpost-fence": "f1"}),
    ),
    (
        WHOLE,
        HttpCall(
            "POST",
            "/jobs/a1",
            {
                "x-baseten-request-id": "a1",
                "x-kingpost-fence": "f1",
                "content-type": "a/b",
                "x-kingpost-slot": "s1",
                "x-kingpost-keep-slot": "1",
                "x-kingpost-path": "/v1/x",
                "traceparent": "00-1",
                "x-baseten-chain-request-id": "c1",
                "x-kingpost-files": "f:1:png",
            },
        ),
    ),
    (CancelJob("a1", "f1"), HttpCall("DELETE", "/jobs/a1", {"x-kingpost-fence": "f1"})),
    (AcquireSlot(1.0), HttpCall("POST", "/slots?wait=1.0", {})),
    (ReleaseSlot("s1"), HttpCall("DELETE", "/slots/s1", {})),
    (AskState(), HttpCall("GET", "/state", {})),
    (Reload(), HttpCall("POST", "/hot-reload", {})),
]


def decoded(method: str, target: str, headers: dict[str, str]) -> WorkerCall | None:
    path, _, query = target.partition("?")
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return decode_call(method, path, query, pairs)


@pytest.mark.parametrize(("call", "http"), CALLS)
def test_every_call_as_http_has_it(call: WorkerCall, http: HttpCall) -> None:
    assert encode_call(call) == http
    assert decoded(*http) == call


def test_an_id_cannot_become_another_path() -> None:
    odd = "a/../b?c#d"
    for call in (RunJob(odd), CancelJob(odd), ReleaseSlot(odd)):
        assert encode_call(call).target.endswith("/a%2F..%2Fb%3Fc%23d")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"), ("GET", "/jobs/a"), ("POST", "/jobs/"), ("POST", "/jobs"), ("DELETE", "/slots"),
        ("DELETE", "/slots/"), ("POST", "/state"), ("GET", "/state/"), ("GET", "//state"), ("HEAD", "/state"),
        ("GET", "/hot-reload"), ("POST", "/jobs/a/b"), ("POST", "state"), ("GET", "/STATE"), ("GET", ""),
    ],
)  # fmt: skip
def test_what_is_no_call(method: str, path: str) -> None:
    assert decode_call(method, path, "", []) is None


@pytest.mark.parametrize(
    "query", ["wait=soon", "wait=-1", "wait=nan", "wait=inf", "1&x", "wait=1&x=2"]
)
def test_a_wait_is_a_number_of_seconds(query: str) -> None:
    assert decode_call("POST", "/slots", "", []) == AcquireSlot(0.0)
    with pytest.raises(WireError, match="wait must be a number of seconds, not"):
        decode_call("POST", "/slots", query, [])


STATE = HostState(
    "ready", None, pid=7, slots=2, busy=1, sync_waiting=0, jobs_waiting=3, open=4, served=5
)
SAID = (
    b'{"state":"ready","error":null,"pid":7,"slots":2,"busy":1,"sync_waiting":0,"jobs_waiting":3,'
    b'"open":4,"served":5,"not_live_ms":0,"not_ready_ms":0,"fault":""}'
)


def test_every_short_answer_byte_by_byte() -> None:
    assert encode_answer(Granted("s1")) == b'{"slot":"s1"}'
    assert decode_granted(b'{"slot":"s1"}') == Granted("s1")
    assert encode_answer(STATE) == SAID
    assert decode_state(SAID) == STATE
    failed = replace(STATE, state="failed", error=LoadFailure("no", "File"))
    wire = SAID.replace(b'"ready"', b'"failed"').replace(
        b"null", b'{"message":"no","traceback":"File"}'
    )
    assert (encode_answer(failed), decode_state(wire)) == (wire, failed)


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        (b"", "This is no JSON"),
        (b"[]", "Expected an object of state, error"),
        (SAID.replace(b'"pid":7,', b""), "Expected an object of state, error"),
        (SAID.replace(b"7", b"null"), "pid cannot be None."),
        (SAID.replace(b"null", b"{}"), "Expected an object of message, traceback"),
        (SAID.replace(b"null", b"7"), "error cannot be 7."),
    ],
)
def test_a_state_that_is_none(wire: bytes, why: str) -> None:
    with pytest.raises(WireError, match=why):
        decode_state(wire)


def test_a_slot_that_is_none() -> None:
    with pytest.raises(WireError, match="slot cannot be None"):
        decode_granted(b'{"slot":null}')

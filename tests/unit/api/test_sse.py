"""Chunks in an event stream: characters and line ends that are cut, text that would like to be an event."""

import io

from hypothesis import given
from hypothesis import strategies as st

from api.events import Event
from api.routes.sse import Chunks, _frame, _is_id

END = Event("9-9", "status", b'{"status":"SUCCEEDED"}')
PIECES = st.lists(
    st.sampled_from([b"\r", b"\n", b"\xc3", b"\xa9", b"\xff", b"\xf0\x9f", b"\x98\x80", b"a", b""]),
    max_size=8,
)


def told(pieces: list[bytes], chunks: Chunks) -> list[Event]:
    events = [Event(f"1-{number}", "output", piece) for number, piece in enumerate(pieces)]
    return [chunk for event in [*events, END] for chunk in chunks.told(event, "1-0")]


def read(frames: str) -> list[tuple[str, str]]:
    """As WHATWG HTML 9.2 has it."""
    found: list[tuple[str, str]] = []
    kind, data = "", list[str]()
    for line in frames.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name.rstrip(":") == "data":
            data.append(value)
        elif not line and kind:
            found.append((kind, "\n".join(data)))
            kind, data = "", []
    return found


@given(PIECES)
def test_chunks_that_are_cut_anywhere_come_out_as_the_whole_text(pieces: list[bytes]) -> None:
    whole = io.TextIOWrapper(io.BytesIO(b"".join(pieces)), "utf-8", "replace", newline=None).read()
    events = told(pieces, Chunks())
    output = [event for event in events if event.kind == "output"]
    seen = read("".join(_frame(event) for event in events))
    assert "".join(data for kind, data in seen if kind == "output") == whole
    assert [kind for kind, _ in seen] == ["output"] * len(output) + ["status"]


@given(PIECES, st.integers(0, 8))
def test_who_comes_back_in_the_middle_of_a_character_misses_nothing(
    pieces: list[bytes], at: int
) -> None:
    events = [Event(f"1-{number}", "output", piece) for number, piece in enumerate(pieces)]
    straight, resumed = Chunks(), Chunks()
    for event in events[:at]:
        straight.told(event, "")
    resumed.catch_up(events[:at])
    rest = [*events[at:], END]
    assert [straight.told(event, "") for event in rest] == [
        resumed.told(event, "") for event in rest
    ]


def test_only_ids_that_the_store_can_have_made_are_ids() -> None:
    assert [_is_id(text) for text in ("0-0", "1764000000000-3")] == [True, True]
    wrong = ["", "1", "²-1", "1-²", "9" * 30 + "-1", "1-" + "9" * 5000, "-1-1", "１-１", "1-1-1"]
    assert not any(_is_id(text) for text in wrong)

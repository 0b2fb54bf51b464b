"""The parser of Server-Sent Events gives the same events however the bytes are cut."""

import pytest

from kingpost.streams.events import Event, Parser

STREAM = (
    "id: 0-0\nevent: status\ndata: {}\n\n: still here\n\nretry: 1000\n"
    "id: 1-0\r\nevent: output\r\ndata: grün\r\ndata: zwei\r\ndata:\r\n\r\n"
    "id: 2-0\nevent: done\ndata: {}\n\n"
).encode()
EVENTS = [
    Event("0-0", "status", "{}"),
    Event("1-0", "output", "grün\nzwei\n"),
    Event("2-0", "done", "{}"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, len(STREAM)])
def test_events_do_not_depend_on_how_the_bytes_come(size: int) -> None:
    parser = Parser()
    chunks = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    assert [event for chunk in chunks for event in parser.feed(chunk)] == EVENTS


def test_an_event_without_its_blank_line_is_not_given() -> None:
    assert list(Parser().feed(STREAM[:-1])) == EVENTS[:-1]

"""Frames of a streamed output, however the connection cuts them."""

import pytest

from kingpost.errors import StreamFailed, Unreachable
from kingpost.streams.frames import END_FRAME, HEAD, Reader, error_frame, frame

PARTS = (b"a", b"bc" * 300, b"", b"d")
WHOLE = b"".join(map(frame, PARTS)) + END_FRAME


@pytest.mark.parametrize("size", [1, 2, 5, 7, 100, len(WHOLE)])
def test_an_output_comes_out_as_it_went_in(size: int) -> None:
    reader, found = Reader(), b""
    for start in range(0, len(WHOLE), size):
        found += b"".join(reader.feed(WHOLE[start : start + size]))
    reader.end()
    assert found == b"".join(PARTS)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_failure_is_told_after_what_came_before(size: int) -> None:
    reader, found = Reader(), list[bytes]()
    whole = frame(b"half") + error_frame("ValueError: no")

    def read() -> None:
        for start in range(0, len(whole), size):
            found.extend(reader.feed(whole[start : start + size]))

    with pytest.raises(StreamFailed, match="ValueError: no"):
        read()
    assert b"".join(found) == b"half"


def test_a_whole_answer_is_read_without_copying_the_rest_for_each_frame() -> None:
    class Counted(bytes):
        copied = 0

        def __getitem__(self, key: object) -> bytes:  # type: ignore[override]
            part = super().__getitem__(key)  # type: ignore[index]
            Counted.copied += len(part)
            return part

        def __radd__(self, other: bytes) -> "Counted":
            return Counted(other + bytes(self))

    answer = Counted(frame(b"x" * 100) * 1000 + END_FRAME)
    assert sum(map(len, Reader().feed(answer))) == 100_000
    assert Counted.copied <= 2 * len(answer)


def test_what_is_cut_off_or_no_frame_is_said() -> None:
    reader = Reader()
    assert list(reader.feed(WHOLE[:-1]))
    with pytest.raises(Unreachable, match="before the output was complete"):
        reader.end()
    for wrong in (b"<html>", HEAD.pack(b"e", 1 << 30)):
        with pytest.raises(Unreachable):
            list(Reader().feed(wrong))

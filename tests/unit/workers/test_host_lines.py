"""Lines of a model host: bounded, whole, in order."""

import io
import json
from typing import IO, cast

import pytest

from workers.processes.lines import LONGEST, LONGEST_OF_OURS, bounded_lines, json_line


class Endless(io.RawIOBase):
    """A gigabyte without a line break, then a line."""

    def __init__(self, size: int) -> None:
        self._left, self._last = size, b"\nafter\n"

    def readable(self) -> bool:
        return True

    def readinto(self, into: memoryview) -> int:  # type: ignore[override]
        if self._left:
            size = min(len(into), self._left)
            into[:size] = b"x" * size
            self._left -= size
            return size
        piece, self._last = self._last, b""
        into[: len(piece)] = piece
        return len(piece)


def lines(text: bytes) -> list[str]:
    return list(bounded_lines(io.BytesIO(text)))


def test_a_gigabyte_without_a_line_break_is_one_line_of_64_kb() -> None:
    stream = cast(IO[bytes], io.BufferedReader(Endless(10**9)))
    cut, after = bounded_lines(stream)
    assert cut == f"{'x' * LONGEST}... ({10**9 - LONGEST} bytes more)"
    assert after == "after"


@pytest.mark.parametrize("size", [1, LONGEST - 2, LONGEST - 1, LONGEST])
def test_a_line_up_to_the_bound_is_whole(size: int) -> None:
    assert lines(b"x" * size + b"\nafter") == ["x" * size, "after"]


def test_blank_lines_are_no_lines_and_other_bytes_are_escaped() -> None:
    assert lines(b"\n \na\xff\r\n") == ["a\\udcff"]


def test_a_long_line_of_the_host_itself_stays_json_and_one_beyond_all_bounds_becomes_it() -> None:
    long = json.dumps({"ts": "", "message": "x" * 5 * LONGEST})
    assert lines(long.encode() + b"\n") == [long]
    (cut,) = lines(json.dumps({"ts": "", "message": "x" * 2 * LONGEST_OF_OURS}).encode() + b"\n")
    assert len(json.loads(json_line(cut, "echo"))["message"]) < LONGEST_OF_OURS + 100

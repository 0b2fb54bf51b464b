"""Ranges of bytes (RFC 9110, section 14), so that a browser can jump to a position in audio or video."""

import re
from dataclasses import dataclass

RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True)
class Part:
    """The bytes from `start` up to, but without, `end`."""

    start: int
    end: int


def part_of(header: str, size: int) -> Part | None:
    """The part that a Range header asks for; the whole of `size` bytes if it has no range, several, or none of bytes.

    None if the range begins behind the end: the answer is then 416.
    """
    match = RANGE.fullmatch(header.strip())
    if match is None or match[1] == match[2] == "":
        return Part(0, size)
    if match[1] == "":
        last = int(match[2])
        return Part(max(size - last, 0), size) if last and size else None
    start, end = int(match[1]), int(match[2] or size - 1) + 1
    if match[2] and end <= start:
        return Part(0, size)
    return Part(start, min(end, size)) if start < size else None

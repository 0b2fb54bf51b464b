"""Ranges of bytes (RFC 9110, section 14), so that a browser can move to a place in a sound or a film."""

import re
from dataclasses import dataclass

RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True)
class Part:
    """The bytes from `start` up to `end`, which does not belong to it."""

    start: int
    end: int


def part_of(header: str, size: int) -> Part | None:
    """What a Range asks for; all of the file for none, for several, and for one that is no range of bytes. None if it is beyond the end."""
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

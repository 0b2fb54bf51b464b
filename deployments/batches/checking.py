"""Reads the file of a batch once from its beginning to its end: where its parts begin, and whether it can be run at all."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from deployments.batches.lines import line_of
from tasks.batches.verbs import PART_LINES

PART_BYTES = 4 << 20  # of a part; it has fewer lines then
LONGEST_LINE = 8 << 20  # bytes
MOST_MISTAKES = 20  # that the record of a batch names
Mistake = dict[str, object]


@dataclass
class Checked:
    """What is known of a file so far. `starts` as in `Batch.starts`."""

    total: int = 0
    starts: list[int] = field(default_factory=list[int])
    mistakes: list[Mistake] = field(default_factory=list[Mistake])


class Checker:
    """Takes a file piece by piece. It remembers 8 bytes of each custom_id."""

    def __init__(self, endpoint: str, most_lines: int) -> None:
        self._endpoint, self._most_lines = endpoint, most_lines
        self._held, self._at = b"", 0  # an unfinished line, and the byte at which it begins
        self._seen: set[bytes] = set()
        self._of_part = 0  # lines of the part so far
        self._part_at = 0
        self.found = Checked()

    async def read(self, pieces: AsyncIterator[bytes]) -> Checked:
        """Reads the whole file, each piece in a thread. A file with a mistake is not read to its end."""
        async for piece in pieces:
            await asyncio.to_thread(self.take, piece)
            if self.found.mistakes:
                return self.found
        await asyncio.to_thread(self.take, b"\n")
        self._finish()
        return self.found

    def take(self, piece: bytes) -> None:
        """Looks at the lines that are complete now."""
        *complete, self._held = (self._held + piece).split(b"\n")
        for raw in complete:
            self._line(raw)
            self._at += len(raw) + 1
        if len(self._held) > LONGEST_LINE:
            self._too_long()

    def _line(self, raw: bytes) -> None:
        if not raw.strip() or len(self.found.mistakes) >= MOST_MISTAKES:
            return
        number = self.found.total
        if len(raw) > LONGEST_LINE:
            self._too_long()
        elif number >= self._most_lines:
            message = f"A batch may have {self._most_lines} lines."
            self.found.mistakes = [_mistake("too_many_lines", message, None)]
        else:
            self._note(number, raw)

    def _note(self, number: int, raw: bytes) -> None:
        custom_id = line_of(number, raw, self._endpoint).custom_id
        if custom_id is not None:
            digest = hashlib.blake2b(custom_id.encode(), digest_size=8).digest()
            if digest in self._seen:
                message = "Another line has the same custom_id."
                mistake = _mistake("duplicate_custom_id", message, number, "custom_id")
                self.found.mistakes.append(mistake)
            self._seen.add(digest)
        full = self._of_part >= PART_LINES or self._at + len(raw) - self._part_at > PART_BYTES
        if not self.found.starts or full:
            self.found.starts += [self._at, number]
            self._of_part, self._part_at = 0, self._at
        self._of_part += 1
        self.found.total += 1

    def _too_long(self) -> None:
        message = f"A line may have {LONGEST_LINE} bytes."
        self.found.mistakes = [_mistake("line_too_long", message, self.found.total)]

    def _finish(self) -> None:
        if not self.found.total and not self.found.mistakes:
            self.found.mistakes = [_mistake("empty_file", "The file has no requests.", None)]
        self.found.starts += [self._at, self.found.total]


def _mistake(code: str, message: str, number: int | None, param: str | None = None) -> Mistake:
    line = None if number is None else number + 1
    return {"code": code, "message": message, "line": line, "param": param}

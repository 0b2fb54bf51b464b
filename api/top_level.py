"""Finds one field of a large JSON object without building the object, because 30 MB of `[],` would become a gigabyte of lists.

The search works in steps of bounded size, and the event loop runs between them. It skips the content of other values; the
model checks whether that is valid JSON.
"""

import asyncio
import json
import re

from api.body import DEEPEST
from api.problems import Problem

TURN_BYTES = 256 * 1024  # bytes that are passed before the event loop does other work
TURN_STEPS = 1000  # the same for steps, which pass few bytes each in a body full of brackets

_FLAT = rb"[^\"\[\]{}]{1,512}+|\"(?:[^\"\\]|\\.){0,512}+\""
# Inside a value: what changes no level, also short arrays and objects without others in them; at most a megabyte at once.
PASSED = re.compile(rb"(?:%b|[\[{](?:%b){0,50}+[\]}]){1,50}+" % (_FLAT, _FLAT), re.S)
FLAT = re.compile(_FLAT, re.S)
LONG_TEXT = re.compile(rb"(?:[^\"\\]{1,65536}+|\\.){1,20000}+", re.S)
BLANK = re.compile(rb"[ \t\r\n]{0,65536}+")
SCALAR = re.compile(rb"[^\s,\[\]{}\"]{1,65536}+")


class Reader:
    """Searches one body. It remembers where the value stands that it found."""

    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0
        self._steps, self._turned = 0, 0
        self.place: slice | None = None  # of the value that `text_of` found, with its quotes

    async def text_of(self, wanted: str) -> object:
        """The value of that field in the outermost object if it is a string. The last one counts. Raises Problem 400."""
        found: object = None
        await self._expect(b"{")
        if await self._peek() == b"}":
            return None
        while True:
            name = await self._text()
            await self._expect(b":")
            is_text = await self._peek() == b'"'
            if name == wanted:
                begin = self._at
                found = await self._text() if is_text else None
                self.place = slice(begin, self._at) if is_text else None
            if name != wanted or not is_text:
                await self._value()
            if await self._peek() == b"}":
                return found
            await self._expect(b",")

    async def _value(self) -> None:
        first, depth = await self._peek(), 0
        if first == b'"':
            await self._long_text()
            return
        if first not in (b"[", b"{"):
            self._move(SCALAR.match(self._body, self._at))
            return
        while True:
            await self._turn()
            byte = self._body[self._at : self._at + 1]
            if byte == b'"':
                await self._long_text()
                continue
            if byte in (b"[", b"{", b"]", b"}"):
                depth += 1 if byte in (b"[", b"{") else -1
                self._at += 1
                if depth > DEEPEST:
                    raise _bad(f"The body is nested deeper than {DEEPEST} levels.")
                if depth == 0:
                    return
            else:
                self._move(FLAT.match(self._body, self._at))
            if passed := PASSED.match(self._body, self._at):
                self._at = passed.end()

    async def _text(self) -> str:
        if await self._peek() != b'"':
            raise _bad("Invalid JSON payload: a name was expected.")
        begin = self._at
        await self._long_text()
        try:
            return str(json.loads(self._body[begin : self._at].decode(errors="surrogatepass")))
        except ValueError as error:
            raise _bad(f"Invalid JSON payload: {error}") from None

    async def _long_text(self) -> None:
        self._at += 1
        while self._body[self._at : self._at + 1] != b'"':
            await self._turn()
            self._move(LONG_TEXT.match(self._body, self._at))
        self._at += 1

    async def _peek(self) -> bytes:
        await self._turn()
        while (blank := BLANK.match(self._body, self._at)) and blank.end() > self._at:
            self._at = blank.end()
            await self._turn()
        return self._body[self._at : self._at + 1]

    async def _expect(self, byte: bytes) -> None:
        if await self._peek() != byte:
            raise _bad(f"Invalid JSON payload: {byte.decode()} was expected at byte {self._at}.")
        self._at += 1

    def _move(self, match: re.Match[bytes] | None) -> None:
        if match is None:
            raise _bad(
                f"Invalid JSON payload: it ends too early or is not JSON at byte {self._at}."
            )
        self._at = match.end()

    async def _turn(self) -> None:
        self._steps += 1
        if self._steps >= TURN_STEPS or self._at - self._turned >= TURN_BYTES:
            self._steps, self._turned = 0, self._at
            await asyncio.sleep(0)


def _bad(message: str) -> Problem:
    return Problem(400, "client_error", message)

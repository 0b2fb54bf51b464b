"""Reads the list of a message batch as it comes, so that it is never in memory as a whole: each of its requests becomes a line."""

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any, cast

from deployments.batches.checking import LONGEST_LINE

ENDPOINT = "/v1/messages"
CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
BRACKETS, STRING = re.compile(rb'["{}\[\]]'), re.compile(rb'(?s:[^"\\]++|\\.)*+')


class NoRequests(ValueError):
    """The body is no list of requests. The text says why."""


class MessageRequests:
    """Takes the bytes of `{"requests": [...]}`. `feed` gives a line of a batch for each request, and remembers 8 bytes of its custom_id."""

    def __init__(self, most: int) -> None:
        self.count = 0
        self._most = most
        self._seen: set[bytes] = set()
        self._held, self._at = b"", 0  # what is looked at, and how far
        self._depth = 0
        self._kept = -1  # where the string or request begins that is being read; -1 = none
        self._in_string = self._in_list = self._had_list = False
        self._key = b""  # the last string of the object itself

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The requests that are complete now. Raises NoRequests."""
        self._held += data
        while found := self._next():
            if request := self._step(found):
                yield self._line(request)
        begins = self._kept if self._kept >= 0 else self._at
        self._held, self._at = self._held[begins:], self._at - begins
        self._kept = min(self._kept, 0)
        if len(self._held) > LONGEST_LINE:
            raise NoRequests(f"a request has more than {LONGEST_LINE} bytes")

    def end(self) -> None:
        """There is no more. Raises NoRequests if that is too early."""
        if self._depth or self._in_string or not self._had_list:
            raise NoRequests("it is no JSON object with a list `requests`")
        if not self.count:
            raise NoRequests("requests: give at least one")

    def _next(self) -> bytes:
        """The next byte that matters; b'' if there is none yet."""
        if self._in_string:
            text = STRING.match(self._held, self._at)
            self._at = text.end() if text else self._at
            ends = (
                self._held[self._at : self._at + 1] == b'"'
            )  # else it, or what it escapes, comes later
            self._at += ends
            return b'"' if ends else b""
        found = BRACKETS.search(self._held, self._at)
        self._check_gap(found.start() if found else len(self._held))
        self._at = found.end() if found else len(self._held)
        return found[0] if found else b""

    def _check_gap(self, end: int) -> None:
        """Between requests there is nothing but commas."""
        between = self._in_list and self._depth == 2
        if between and self._held[self._at : end].strip(b" \t\r\n,"):
            raise NoRequests("requests: give objects with `custom_id` and `params`")

    def _step(self, byte: bytes) -> bytes:
        """Goes on by that byte. The request that it ends, b'' if none."""
        if byte == b'"':
            self._quote()
        elif byte in b"{[":
            self._open(byte)
        else:
            return self._close()
        return b""

    def _quote(self) -> None:
        if self._depth == 1 and self._in_string:
            self._key, self._kept = self._held[self._kept : self._at - 1], -1
        elif self._depth == 1:
            self._kept = self._at
        elif self._in_list and self._depth == 2:
            raise NoRequests("requests: give objects with `custom_id` and `params`")
        self._in_string = not self._in_string

    def _open(self, byte: bytes) -> None:
        if self._depth == 1 and byte == b"[" and self._key == b"requests":
            self._in_list = self._had_list = True
        elif self._depth == 2 and self._in_list:
            self._kept = self._at - 1
        elif self._depth == 0 and byte == b"[":
            raise NoRequests("it is no JSON object")
        self._depth += 1

    def _close(self) -> bytes:
        self._depth -= 1
        if self._depth == 2 and self._in_list:
            request, self._kept = self._held[self._kept : self._at], -1
            return request
        if self._depth == 1:
            self._in_list = False
        if self._depth < 0:
            raise NoRequests("it is no JSON object")
        return b""

    def _line(self, request: bytes) -> bytes:
        place = f"requests.{self.count}"
        try:
            said = json.loads(request)
        except (ValueError, RecursionError):
            raise NoRequests(f"{place} is no JSON") from None
        fields = cast("dict[str, Any]", said) if isinstance(said, dict) else {}
        custom_id = fields.get("custom_id")
        if not isinstance(custom_id, str) or not CUSTOM_ID.fullmatch(custom_id):
            raise NoRequests(f"{place}.custom_id: give 1 to 64 letters, digits, `_` and `-`")
        if not isinstance(fields.get("params"), dict):
            raise NoRequests(f"{place}.params: give an object")
        digest = hashlib.blake2b(custom_id.encode(), digest_size=8).digest()
        if digest in self._seen:
            raise NoRequests(f"{place}.custom_id: another request has the same")
        self._seen.add(digest)
        self.count += 1
        if self.count > self._most:
            raise NoRequests(f"a batch may have {self._most} requests")
        body = fields["params"]
        line = {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body}
        written = json.dumps(line).encode() + b"\n"
        if len(written) > LONGEST_LINE:
            raise NoRequests(f"{place} has more than {LONGEST_LINE} bytes")
        return written

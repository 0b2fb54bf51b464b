"""Reads a form as it comes, so that a large file in it is never in memory as a whole."""

from collections.abc import Iterator
from dataclasses import dataclass

from deployments.forms import MOST_HEAD, MOST_PARTS, FormError, Part, part_of


@dataclass(frozen=True)
class Head:
    """A field begins: its name, and the name of its file, None for text."""

    name: str
    filename: str | None


class FormStream:
    """Takes the bytes of a form. `feed` gives the heads of fields, and pieces of their content."""

    def __init__(self, boundary: bytes) -> None:
        self._mark = b"\r\n--" + boundary
        self._held = bytearray(b"\r\n")  # before the first boundary, as before the others
        self._in_field = self._in_head = False
        self._fields = 0
        self.ended = False

    def feed(self, data: bytes) -> Iterator[Head | bytes]:
        """What these bytes bring. Raises FormError."""
        self._held += data
        while not self.ended:
            found = self._head() if self._in_head else self._content()
            if found is None:
                return
            if found or isinstance(found, Head):
                yield found

    def _head(self) -> Head | bytes | None:
        """The head of the next field; nothing at the end of the form; None if more bytes are needed."""
        if self._held.startswith(b"--"):
            self.ended = True
            return b""
        end = self._held.find(b"\r\n\r\n")
        if end < 0:
            if len(self._held) > MOST_HEAD:
                raise FormError(f"a part has more than {MOST_HEAD} bytes of headers")
            return None
        self._fields += 1
        if self._fields > MOST_PARTS:
            raise FormError(f"it has more than {MOST_PARTS} parts")
        part: Part = part_of(bytes(self._held[:end]), slice(0, 0))
        del self._held[: end + 4]
        self._in_head, self._in_field = False, True
        return Head(part.name, part.filename)

    def _content(self) -> bytes | None:
        """A piece of a field, up to its end at most; what is before the first field is dropped."""
        at = self._held.find(self._mark)
        keeps = at < 0
        end = max(len(self._held) - len(self._mark) + 1, 0) if keeps else at
        piece = bytes(self._held[:end])
        del self._held[: end if keeps else end + len(self._mark)]
        if keeps and not piece:
            return None
        self._in_head = not keeps
        return piece if self._in_field else b""

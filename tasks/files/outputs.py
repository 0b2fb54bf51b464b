"""Stores the files of an output, which come first in the answer of a model host."""

from collections.abc import Callable, Sequence

from tasks.files.files import file_ref
from tasks.files.kinds import HEAD_BYTES, sniffed
from tasks.files.verbs import File
from tasks.payloads import Payloads, PayloadWriter


class OutputWriter:
    """Takes the bytes of an answer as they come. Methods raise PayloadUnavailable.

    `files` are those that are complete. No record has them yet; the caller has noted their payloads (`verbs.spill`).
    """

    def __init__(
        self, payloads: Payloads, sizes: Sequence[int], id_of: Callable[[int], str], left_ms: int
    ) -> None:
        self.files: list[File] = []
        self.refs = [file_ref(id_of(number)) for number in range(len(sizes))]
        self._payloads = payloads
        self._sizes = sizes
        self._id_of = id_of
        self._left_ms = left_ms
        self._writer: PayloadWriter | None = None
        self._left = 0
        self._head = b""

    @property
    def is_complete(self) -> bool:
        """Whether all files have come."""
        return len(self.files) == len(self._sizes)

    def take(self, data: bytes) -> bytes:
        """Writes what belongs to files and returns the rest, which is the output itself."""
        while not self.is_complete:
            if self._writer is None:
                self._begin()
            if self._left and not data:
                return b""
            piece, data = data[: self._left], data[self._left :]
            self._head += piece[: HEAD_BYTES - len(self._head)]
            self._left -= len(piece)
            if self._writer and piece:
                self._writer.write(piece)
            if not self._left:
                self._end()
        return data

    def _begin(self) -> None:
        number = len(self.files)
        self._writer = self._payloads.writer(self.refs[number])
        self._left, self._head = self._sizes[number], b""

    def _end(self) -> None:
        assert self._writer, "it has begun"
        self._writer.close()
        number, (content_type, ending) = len(self.files), sniffed(self._head)
        self._writer = None
        self.files.append(
            File(
                self._id_of(number),
                self.refs[number],
                self._sizes[number],
                ending,
                content_type,
                self._left_ms,
            )
        )

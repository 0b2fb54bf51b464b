"""Collects the output of a job: in memory while it is small, then in the payload store."""

from collections.abc import Callable

from tasks.errors import PayloadUnavailable
from tasks.payloads import Payloads, PayloadWriter


class Spool:
    """The output of a job. `head` holds all of it up to `limit` bytes. A larger output is in the payload store under `ref`.

    `before_spill` is called before the payload store gets the first byte.
    """

    def __init__(
        self, payloads: Payloads, ref: str, limit: int, before_spill: Callable[[], None]
    ) -> None:
        self.head = bytearray()
        self.size = 0  # bytes of the whole output
        self.ref = ""  # empty while the output is in `head`
        self.failure = ""  # why the output cannot be stored
        # True for the body of an error, of which only the first `limit` bytes are kept
        self.head_only = False
        self._payloads = payloads
        self._ref = ref
        self._limit = limit
        self._before_spill = before_spill
        self._writer: PayloadWriter | None = None

    def write(self, piece: bytes) -> None:
        """Appends a piece. A failure of the payload store is recorded and not raised, so that the model call can go on."""
        self.size += len(piece)
        if self.size <= self._limit:
            self.head += piece
        elif self.head_only:
            self.head += piece[: max(self._limit - len(self.head), 0)]
        elif not self.failure:
            self._guarded(lambda: self._spill(piece))

    def clear(self) -> None:
        """Drops the output so far. A job whose stream failed has an error as its output instead."""
        self.head.clear()
        self.size, self.ref, self.failure, self._writer = 0, "", "", None

    def close(self) -> None:
        """Completes the output."""
        writer, self._writer = self._writer, None
        if writer and not self.failure:
            self._guarded(writer.close)

    def _spill(self, piece: bytes) -> None:
        if self._writer is None:
            self._before_spill()
            self._writer = self._payloads.writer(self._ref)
            self._writer.write(bytes(self.head))
            self.ref = self._ref
        self._writer.write(piece)

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except PayloadUnavailable as error:
            self.failure = str(error)

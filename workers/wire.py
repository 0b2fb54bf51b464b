"""The answer of a job as a stream of frames, written by the model host and read by the worker.

A frame is 1 byte kind, 4 bytes big-endian payload length, payload:

    P  JSON {"fraction": 0..1, "message": str | null}          progress
    O  bytes                                                   one chunk of a streaming model
    R  JSON {"status", "headers", "streamed", "text"}          head of the result; failure: what the model raised,
                                                               for its owner; absent when it raised nothing
    B  bytes, at most 256 KiB each                             piece of a body that was not streamed
    E  JSON {"slot_kept", "stopped_by", "ms",                  the end; still_running: the slot is held
             "still_running"}                                  until a silent generator returns

P and O come as they appear, then R once, then any B, then E. A stream without E means that the host died.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

MEDIA_TYPE = "application/x-kingpost-frames"
BODY_PIECE = 256 * 1024  # bytes; small enough for the worker to interleave progress and cancels
MAX_PAYLOAD = 1 << 30  # bytes; a longer length means that this is no frame stream
MODEL_ERROR = "Internal Server Error (in model/chainlet)."  # as Truss puts it
HEAD = struct.Struct(">cI")


class FrameError(ValueError):
    """The bytes are not a frame stream."""


class FrameKind(StrEnum):
    """The kinds of frames; the value is the byte on the wire."""

    PROGRESS = "P"
    OUTPUT = "O"
    RESULT = "R"
    BODY = "B"
    END = "E"


@dataclass(frozen=True)
class Frame:
    """One frame; `json()` reads the payload of P, R and E."""

    kind: FrameKind
    payload: bytes

    def json(self) -> dict[str, object]:
        return json.loads(self.payload)


KINDS = {kind.value.encode(): kind for kind in FrameKind}


def encode_frame(kind: FrameKind, payload: bytes) -> bytes:
    """The frame as it goes over the wire."""
    return HEAD.pack(kind.value.encode(), len(payload)) + payload


def encode_json(kind: FrameKind, fields: Mapping[str, object]) -> bytes:
    """A P, R or E frame."""
    return encode_frame(kind, json.dumps(fields, separators=(",", ":")).encode())


def encode_body(body: bytes) -> Iterator[bytes]:
    """B frames of at most BODY_PIECE bytes; none for an empty body."""
    for start in range(0, len(body), BODY_PIECE):
        yield encode_frame(FrameKind.BODY, body[start : start + BODY_PIECE])


class FrameDecoder:
    """Turns received bytes, cut anywhere, into frames."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now, in order. Raises FrameError for bytes that are no frames."""
        pending = self._pending
        pending += data
        frames: list[Frame] = []
        start = 0
        while len(pending) - start >= HEAD.size:
            kind, length = HEAD.unpack_from(pending, start)
            if kind not in KINDS or length > MAX_PAYLOAD:
                raise FrameError(f"No frame starts with {kind!r} and a length of {length}.")
            end = start + HEAD.size + length
            if end > len(pending):
                break
            frames.append(Frame(KINDS[kind], bytes(pending[start + HEAD.size : end])))
            start = end
        del pending[:start]
        return frames

    @property
    def empty(self) -> bool:
        """True between two frames: nothing half-received is waiting."""
        return not self._pending

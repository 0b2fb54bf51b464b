"""Messages of the host about a job, in frames: 1 byte kind, 4 bytes big-endian payload length, payload.

    P  Progress     JSON      O  OutputChunk  bytes      F  Failure  JSON
    R  Result       JSON      B  BodyPiece    bytes      E  End      JSON

P and O are sent while the model runs. After them come F, if the model raised something, one R, any number of B, and E. A stream
that ends without E means that the host died.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import NoneType

from workers.wire.shapes import Shape, WireError, encoded, members_of, value_of

MEDIA_TYPE = "application/x-kingpost-frames"
HEAD = struct.Struct(">cI")
BODY_PIECE = 256 * 1024  # bytes; small enough for the worker to interleave progress and cancels
MAX_PAYLOAD = 1 << 30  # bytes; a longer length means that this is no frame stream
MODEL_ERROR = "Internal Server Error (in model/chainlet)."  # all that Truss tells a caller

Fault = str  # what a failed call says about its host, one of these five:
WELL = ""
OUT_OF_MEMORY = "out_of_memory"
DEVICE = "device"  # its GPU cannot be used any more, perhaps because of the job
HARDWARE = "hardware"  # its GPU cannot be used any more, because of a defect
UNHEALTHY = "unhealthy"  # its own health check failed
WHY_SICK = {  # faults after which a host must not run other jobs; each completes "was stopped because"
    DEVICE: "its GPU cannot be used any more",
    HARDWARE: "its GPU reports a defect",
    UNHEALTHY: "a request failed, and the health check says no",
}


@dataclass(frozen=True)
class Progress:
    """The progress that the model reported, from 0 to 1. Raises WireError for any other fraction."""

    fraction: float
    message: str | None

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise WireError(f"A progress is a number from 0 to 1, not {self.fraction}.")


@dataclass(frozen=True)
class OutputChunk:
    """One chunk of a streaming model."""

    data: bytes


@dataclass(frozen=True)
class Failure:
    """The model's exception and where it was raised, for the owner of the request. The Result only says that the call failed."""

    text: str


@dataclass(frozen=True)
class Result:
    """The head of the answer."""

    status: int
    headers: dict[str, str]  # with lower-case names
    streamed: bool  # the body was sent before, as OutputChunks; else it follows as BodyPieces
    text: bool  # the chunks of a streamed body are text


@dataclass(frozen=True)
class BodyPiece:
    """A piece of a body that was not streamed, at most BODY_PIECE bytes."""

    data: bytes


@dataclass(frozen=True)
class End:
    """The call is over."""

    slot_kept: bool  # as RunJob.keep_slot asked
    stopped_by: (
        str | None
    )  # how a stopped call ended: cooperative or closed; None = it was not stopped
    ms: float  # how long it had its slot
    still_running: bool  # the slot is taken until the model's generator, which is silent, returns
    fault: Fault = WELL


Message = Progress | OutputChunk | Failure | Result | BodyPiece | End

KINDS: dict[type[Message], bytes] = {
    Progress: b"P", OutputChunk: b"O", Failure: b"F", Result: b"R", BodyPiece: b"B", End: b"E",
}  # fmt: skip
PROGRESS: Shape = {"fraction": (float,), "message": (str, NoneType)}
FAILURE: Shape = {"text": (str,)}
RESULT: Shape = {"status": (int,), "headers": (dict,), "streamed": (bool,), "text": (bool,)}
END: Shape = {
    "slot_kept": (bool,), "stopped_by": (str, NoneType), "ms": (float,), "still_running": (bool,),
    "fault": (str,),
}  # fmt: skip


def _result(payload: bytes) -> Result:
    result = Result(**members_of(value_of(payload), RESULT))
    for value in result.headers.values():
        if type(value) is not str:
            raise WireError(f"A header of a result is no text: {str(value)[:100]}.")
    return result


DECODERS: dict[bytes, Callable[[bytes], Message]] = {
    b"P": lambda payload: Progress(**members_of(value_of(payload), PROGRESS)),
    b"O": OutputChunk,
    b"F": lambda payload: Failure(**members_of(value_of(payload), FAILURE)),
    b"R": _result,
    b"B": BodyPiece,
    b"E": lambda payload: End(**members_of(value_of(payload), END)),
}


def encode(message: Message) -> bytes:
    """The message as a frame."""
    kind = type(message)
    if isinstance(message, (OutputChunk, BodyPiece)):
        payload = message.data
    else:
        payload = encoded(message.__dict__).encode()
    return HEAD.pack(KINDS[kind], len(payload)) + payload


def encode_body(body: bytes) -> Iterator[bytes]:
    """The body in pieces, each as a frame. An empty body has none."""
    for start in range(0, len(body), BODY_PIECE):
        yield encode(BodyPiece(body[start : start + BODY_PIECE]))


class MessageDecoder:
    """Turns received bytes, cut anywhere, into messages."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete now, in order. Raises WireError for bytes that are no message."""
        pending = self._pending
        if pending:
            pending += data
        buffer = pending or data  # usually nothing is pending, and `data` is not copied
        messages: list[Message] = []
        start = 0
        while len(buffer) - start >= HEAD.size:
            kind, length = HEAD.unpack_from(buffer, start)
            if kind not in DECODERS or length > MAX_PAYLOAD:
                raise WireError(f"No frame starts with {kind!r} and a length of {length}.")
            first = start + HEAD.size
            end = first + length
            if end > len(buffer):
                break
            messages.append(DECODERS[kind](bytes(buffer[first:end])))
            start = end
        if pending:
            del pending[:start]
        else:
            pending += data[start:]
        return messages

    @property
    def empty(self) -> bool:
        """True between two frames, when no part of a frame is waiting."""
        return not self._pending

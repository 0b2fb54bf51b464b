"""A streamed answer in frames, for callers who ask for it: they learn that the model failed in the middle, and why."""

from starlette.types import Message, Send

from kingpost.streams.frames import END_FRAME, FRAMES, error_frame, frame
from workers.host.call.call import ModelCall
from workers.host.errors import HostError, is_http_exception
from workers.host.model.failure import headline
from workers.host.model.stream import OddChunk, StreamGap

FAILED = "The model failed in the middle of its output"
FRAMES_HEADER = (FRAMES.encode(), b"1")  # of an answer that is in frames
DETAILED = "detailed"  # the header's value if the caller may read the model's exceptions


class FramedSend:
    """An ASGI `send` that puts a body of unknown length into frames. Any other answer passes as it is."""

    def __init__(self, send: Send, detailed: bool) -> None:
        self._send, self._detailed = send, detailed
        self._framed = False

    @classmethod
    def asked(cls, call: ModelCall, send: Send) -> "FramedSend | None":
        """A framing `send` if the caller asks for frames, else None."""
        said = call.headers.get(FRAMES)
        return cls(send, said == DETAILED) if said else None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message = self._start(message)
        elif self._framed and message["type"] == "http.response.body":
            more = message.get("more_body", False)
            body = frame(bytes(message.get("body", b"")))
            message = {**message, "body": body if more else body + END_FRAME}
        await self._send(message)

    async def failed(self, error: BaseException) -> bool:
        """Ends the answer with a frame that says why it failed. The result is False if the answer is not in frames.

        Then only a lost connection can tell the caller that the answer is not complete.
        """
        if self._framed:
            told = error_frame(f"{FAILED}: {self._reason(error)}")
            await self._send({"type": "http.response.body", "body": told})
        return self._framed

    def _start(self, message: Message) -> Message:
        headers = [
            pair for pair in message.get("headers", ()) if pair[0].lower() != FRAMES_HEADER[0]
        ]
        sized = any(name.lower() == b"content-length" for name, _ in headers)
        self._framed = not sized and message["status"] not in (204, 304)
        return {**message, "headers": [*headers, FRAMES_HEADER] if self._framed else headers}

    def _reason(self, error: BaseException) -> str:
        """Why the model failed, as far as this caller may know."""
        if is_http_exception(error):
            return str(error.detail)  # it is for callers
        if isinstance(error, (HostError, StreamGap, OddChunk)):
            return str(error)
        if self._detailed:
            return headline(error)
        return "this key may not read why"

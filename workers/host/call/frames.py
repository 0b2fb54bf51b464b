"""Writes frames, such as progress, into an HTTP response, from the event loop and from the model's threads."""

import asyncio
import threading

from starlette.types import Send

from workers.wire.messages import MEDIA_TYPE, Progress, encode

PROGRESS_GAP = 0.05  # s between two progress frames; more would only cost the worker time


class FrameStream:
    """One response with frames as its body. Writes keep their order. The head is sent with the first one."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._started = False
        self._finished = False  # a stopped model may report progress after the answer
        self._order = asyncio.Lock()
        self._soon: set[asyncio.Task[None]] = set()  # the tasks of `write_soon`

    async def write(self, frames: bytes) -> None:
        """Sends frames. It waits while the worker does not read. After `finish` it does nothing."""
        async with self._order:
            if self._finished:
                return
            await self._start()
            await self._send({"type": "http.response.body", "body": frames, "more_body": True})

    def write_soon(self, frames: bytes) -> None:
        """Sends frames in a task of its own, for callbacks, which cannot wait."""
        task = asyncio.create_task(self.write(frames))
        self._soon.add(task)
        task.add_done_callback(self._soon.discard)

    async def finish(self, frames: bytes) -> None:
        """Sends the last frames and ends the response."""
        if self._soon:
            await asyncio.gather(*self._soon)
        async with self._order:
            self._finished = True
            await self._start(len(frames))
            await self._send({"type": "http.response.body", "body": frames})

    async def _start(self, content_length: int | None = None) -> None:
        if self._started:
            return
        self._started = True
        headers = [(b"content-type", MEDIA_TYPE.encode())]
        if content_length is not None:  # all in one write: cheaper to read than chunks
            headers.append((b"content-length", str(content_length).encode()))
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})


class ProgressFrames:
    """The `progress` of a job. Any thread may call it. Within 50 ms only the latest value is sent."""

    def __init__(self, stream: FrameStream) -> None:
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._latest: bytes = b""
        self._armed = False  # whether a flush is on its way

    def __call__(self, fraction: float, message: str | None = None) -> None:
        """Reports a fraction of 0..1, clamped. Raises TypeError or ValueError for what is no number."""
        clamped = min(1.0, max(0.0, float(fraction)))
        text = None if message is None else str(message)
        frame = encode(Progress(clamped, text))
        with self._lock:
            self._latest = frame
            armed, self._armed = self._armed, True
        if not armed:
            self._loop.call_soon_threadsafe(self._flush)

    def pending(self) -> bytes:
        """The last frame if it was not sent yet. It is returned only once."""
        with self._lock:
            latest, self._latest = self._latest, b""
        return latest

    def _flush(self) -> None:
        with self._lock:
            latest, self._latest = self._latest, b""
            self._armed = bool(latest)
        if latest:
            self._stream.write_soon(latest)
            self._loop.call_later(PROGRESS_GAP, self._flush)

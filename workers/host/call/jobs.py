"""The worker's private routes: take a slot, run a job as a stream of frames, stop it."""

import asyncio
import time
from dataclasses import dataclass, field

from starlette.types import Message, Receive, Scope, Send

from workers.host.call.answer import AnswerCall, check_head, close_stream, failed_reply, send_reply
from workers.host.call.call import Call, body_receiver, read_body, watch_client
from workers.host.call.frames import FrameStream, ProgressFrames
from workers.host.call.slots import Door, Slot
from workers.host.errors import (
    ClientGone,
    ModelNotReady,
    Reply,
    error_reply,
    is_http_exception,
    json_reply,
)
from workers.host.logs import end_request, log_user_error, request_id
from workers.host.model.codec import BINARY
from workers.host.model.pipeline import SlottedResponse, Streaming
from workers.host.model.stream import END, StreamGap, chunk_bytes
from workers.host.state import Host
from workers.wire import FrameKind, encode_body, encode_frame, encode_json

PREDICT_PATH = "/v1/models/model:predict"
TEXT = "text/plain; charset=utf-8"  # chunks that all are str, as one output
REQUEST_ID = b"x-baseten-request-id"
FENCE = b"x-kingpost-fence"
Attempt = tuple[str, bytes]  # request id and fence


@dataclass
class Result:
    """What the frames R and B will say."""

    reply: Reply
    streamed: bool = False
    text: bool = True
    headers: dict[str, str] = field(default_factory=dict[str, str])
    closing: asyncio.Task[None] | None = None  # the generator is silent and cannot be closed yet

    def frames(self) -> list[bytes]:
        headers = self.headers or dict(self.reply.all_headers())
        fields: dict[str, object] = {"status": self.reply.status, "headers": headers}
        fields |= {"streamed": self.streamed, "text": self.streamed and self.text}
        if self.reply.failure:
            fields["failure"] = self.reply.failure
        head = encode_json(FrameKind.RESULT, fields)
        return [head, *encode_body(self.reply.body)]


class Jobs:
    """All jobs that run in this host, by request id and fence: a job may be claimed anew while its lost call still ends.

    A status other than 200 is this host's own word; what the model answers comes in frames.
    """

    def __init__(self, host: Host, answer: AnswerCall) -> None:
        self._host = host
        self._answer = answer
        self._running: dict[Attempt, Call] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST runs a job, DELETE stops it."""
        attempt = (scope["path_params"]["request_id"], dict(scope["headers"]).get(FENCE, b""))
        if scope["method"] == "DELETE":
            await send_reply(self._stop(attempt), send)
        elif attempt in self._running:
            await send_reply(json_reply(409, {"error": "This job is already running."}), send)
        elif self._host.state not in ("ready", "draining"):
            await send_reply(error_reply(ModelNotReady()), send)
        else:
            await self._start(attempt, scope, receive, send)

    def _stop(self, attempt: Attempt) -> Reply:
        call = self._running.get(attempt)
        if call is None:
            return json_reply(404, {"error": "No such job is running here."})
        call.stop()
        return json_reply(202, {"stopping": attempt[0]})

    async def _start(self, attempt: Attempt, scope: Scope, receive: Receive, send: Send) -> None:
        name = attempt[0]
        request_id.set(name)
        try:
            body = await read_body(receive)
        except ClientGone:
            return
        grace = self._host.package.runtime.stop_grace_seconds
        call = Call(_scope_for_model(scope, name), body, Door.JOB, grace)
        stream = FrameStream(send)
        progress = ProgressFrames(stream)
        call.progress = progress
        self._running[attempt] = call
        watcher = asyncio.create_task(watch_client(call, receive))
        try:
            frames = await self._run(call, stream)
        finally:
            watcher.cancel()
            del self._running[attempt]
            end_request()
        await stream.finish(b"".join([progress.pending(), *frames]))

    async def _run(self, call: Call, stream: FrameStream) -> list[bytes]:
        """Slot, pipeline, verdict. Never raises; the slot is kept or free afterwards."""
        token = call.headers.get("x-kingpost-slot", "")
        started = time.perf_counter()
        slot = self._host.reservations.take(token)
        try:
            if slot is None:
                slot = await call.cancellable(self._host.gate.acquire(Door.JOB), "slot")
                started = time.perf_counter()
            result = await self._result(call, stream)
        except ClientGone as error:
            result = Result(error_reply(error))
        ms = (time.perf_counter() - started) * 1000
        stopped = call.stopped_by if call.stopped.is_set() else None
        kept = not stopped and result.reply.status < 500 and self._keep(call, token, slot)
        if slot and result.closing:
            result.closing.add_done_callback(lambda _: slot.release())
        elif slot and not kept:
            slot.release()
        end = {"slot_kept": kept, "stopped_by": stopped, "ms": round(ms, 3)}
        still_running = result.closing is not None
        return [
            *result.frames(),
            encode_json(FrameKind.END, {**end, "still_running": still_running}),
        ]

    def _keep(self, call: Call, token: str, slot: Slot | None) -> bool:
        """Holds the slot for the worker's next job, unless a sync call waits: sync goes first."""
        if not token or not slot or call.headers.get("x-kingpost-keep-slot") != "1":
            return False
        if self._host.gate.sync_waiting:
            return False
        self._host.reservations.keep(token, slot)
        return True

    async def _result(self, call: Call, stream: FrameStream) -> Result:
        outcome = await self._answer(call)
        if isinstance(outcome, Streaming):
            result = await self._pull(outcome, call, stream)
        elif isinstance(outcome, SlottedResponse):
            result = await self._respond(outcome, call, stream)
        else:
            result = Result(outcome)
        if call.stopped.is_set():
            return Result(error_reply(ClientGone("the result")))
        return result

    async def _pull(self, streaming: Streaming, call: Call, stream: FrameStream) -> Result:
        """Each chunk is an output frame at once; a failing generator makes the job fail."""
        text = True
        try:
            while (chunk := await streaming.chunks.next()) is not END:
                text = text and isinstance(chunk, str)
                await stream.write(encode_frame(FrameKind.OUTPUT, chunk_bytes(chunk)))
            result = Result(Reply(200, b"", TEXT if text else BINARY), streamed=True, text=text)
        except StreamGap as error:
            # Its thread may be silent for ever: answer now, the slot comes back when it returns.
            closing = asyncio.create_task(close_stream(streaming.chunks))
            return Result(error_reply(error), closing=closing)
        except ClientGone as error:
            call.stopped_by = "closed"
            result = Result(error_reply(error))
        except (Exception, SystemExit) as error:  # the model's own, of any kind
            file = self._host.package.model_class_filename
            log_user_error("Exception while generating streamed response", error, file)
            result = Result(_broken(error, file))
        await close_stream(streaming.chunks)
        return result

    async def _respond(self, slotted: SlottedResponse, call: Call, stream: FrameStream) -> Result:
        """The model's own Response, run as the server would run it, its messages caught."""
        caught = _Caught(stream)
        try:
            sending = slotted.response(call.request.scope, body_receiver(call), caught)
            await call.cancellable(sending, "streaming", patient=True)
        except ClientGone as error:
            call.stopped_by = "closed"
            return Result(error_reply(error))
        except Exception as error:  # the generator inside raised
            file = self._host.package.model_class_filename
            log_user_error("Exception while generating streamed response", error, file)
            return Result(_broken(error, file))
        return caught.result()


class _Caught:
    """An ASGI `send` that turns a streamed body into output frames and remembers a plain one."""

    def __init__(self, stream: FrameStream) -> None:
        self._stream = stream
        self._status = 200
        self._headers: dict[str, str] = {}
        self._body = b""
        self._streamed = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            check_head(message)
            self._status = message["status"]
            pairs = (
                (n.decode("latin-1").lower(), v.decode("latin-1")) for n, v in message["headers"]
            )
            self._headers = {name: value for name, value in pairs if name != "content-length"}
        elif message["type"] == "http.response.body":
            await self._take(bytes(message.get("body", b"")), bool(message.get("more_body")))

    async def _take(self, body: bytes, more: bool) -> None:
        self._streamed = self._streamed or more
        if not self._streamed:
            self._body = body
        elif body:
            await self._stream.write(encode_frame(FrameKind.OUTPUT, body))

    def result(self) -> Result:
        content_type = self._headers.get("content-type", BINARY)
        headers = {"content-type": content_type, **self._headers}
        text = content_type.startswith("text/")
        return Result(Reply(self._status, self._body, content_type), self._streamed, text, headers)


def _broken(error: BaseException, model_file: str) -> Reply:
    """A stream that the model broke off: its HTTPException is its answer, all else is a failure."""
    if is_http_exception(error):
        return error_reply(error)
    return failed_reply(error, error, model_file)


def _scope_for_model(scope: Scope, name: str) -> Scope:
    """The scope as a predict of the gateway would have it: its path, and the request id as a header."""
    headers: list[tuple[bytes, bytes]] = list(scope["headers"])
    path = PREDICT_PATH
    has_id = False
    for key, value in headers:
        has_id = has_id or key == REQUEST_ID
        if key == b"x-kingpost-path":
            path = value.decode("latin-1")
    if not has_id:
        headers.append((REQUEST_ID, name.encode("latin-1", "replace")))
    return {**scope, "path": path, "raw_path": path.encode(), "headers": headers, "path_params": {}}

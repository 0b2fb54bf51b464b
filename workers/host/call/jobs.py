"""Runs jobs. Each job sends a stream of messages to the worker and can be stopped."""

import asyncio
import time
from dataclasses import dataclass, field

from starlette.types import Message, Receive, Scope, Send

from workers.host.call.answer import AnswerCall, check_head, close_stream, failed_reply, send_reply
from workers.host.call.call import ModelCall, body_receiver, read_call, watch_client
from workers.host.call.files import contents
from workers.host.call.frames import FrameStream, ProgressFrames
from workers.host.call.slots import CallKind, Slot
from workers.host.errors import (
    ClientGone,
    HostError,
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
from workers.wire.calls import REQUEST_ID, CancelJob, RunJob
from workers.wire.messages import (
    UNHEALTHY,
    WELL,
    End,
    Failure,
    Fault,
    OutputChunk,
    Result,
    encode,
    encode_body,
)

PREDICT_PATH = "/v1/models/model:predict"
# the content type of a streamed output whose chunks were all str
TEXT = "text/plain; charset=utf-8"
ID_HEADER = REQUEST_ID.encode()
Attempt = tuple[str, str]  # request id and fence


@dataclass
class Outcome:
    """The content of the messages at the end of a job."""

    reply: Reply
    streamed: bool = False  # whether the output was sent in chunks; the reply then has no body
    text: bool = True  # whether all chunks were text; means nothing unless `streamed`
    headers: dict[str, str] = field(default_factory=dict[str, str])  # empty = those of the reply
    # ends when a generator that went silent could be closed
    closing: asyncio.Task[None] | None = None

    def frames(self) -> list[bytes]:
        reply, streamed = self.reply, self.streamed
        headers = self.headers or dict(reply.all_headers())
        head = encode(Result(reply.status, headers, streamed, streamed and self.text))
        failure = [encode(Failure(reply.failure))] if reply.failure else []
        return [*failure, head, *encode_body(reply.body)]


class Jobs:
    """All jobs that run in this host, by request id and fence. A job may be claimed again while its lost call still ends.

    A status other than 200 comes from this host. The model's answer comes in frames.
    """

    def __init__(self, host: Host, answer: AnswerCall) -> None:
        self._host = host
        self._answer = answer
        self._running: dict[Attempt, ModelCall] = {}

    async def run(self, job: RunJob, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs a job and answers with messages, or refuses the job."""
        if (job.request_id, job.fence) in self._running:
            await send_reply(json_reply(409, {"error": "This job is already running."}), send)
        elif self._host.state not in ("ready", "draining"):
            await send_reply(error_reply(ModelNotReady()), send)
        else:
            await self._start(job, scope, receive, send)

    def stop(self, job: CancelJob) -> Reply:
        """Asks a job to end. The answer is 202, or 404 if the job does not run here."""
        call = self._running.get((job.request_id, job.fence))
        if call is None:
            return json_reply(404, {"error": "No such job is running here."})
        call.stop()
        return json_reply(202, {"stopping": job.request_id})

    async def _start(self, job: RunJob, scope: Scope, receive: Receive, send: Send) -> None:
        attempt = (job.request_id, job.fence)
        request_id.set(job.request_id)
        try:
            files, body = await read_call(receive, job.files, self._host.files_dir)
        except ClientGone:
            return
        except HostError as error:
            await self._refuse(job, error, send)
            return
        grace = self._host.package.runtime.cancels_after
        call = ModelCall(_scope_for_model(scope, job), body, CallKind.JOB, grace, files)
        stream = FrameStream(send)
        progress = ProgressFrames(stream)
        call.progress = progress
        self._running[attempt] = call
        watcher = asyncio.create_task(watch_client(call, receive))
        try:
            frames = await self._run(job, call, stream)
        finally:
            watcher.cancel()
            del self._running[attempt]
            await files.remove()
            end_request()
        await stream.finish(b"".join([progress.pending(), *frames]))

    async def _refuse(self, job: RunJob, error: HostError, send: Send) -> None:
        """Answers for a call whose files could not be taken."""
        if slot := self._host.reservations.take(job.slot):
            slot.release()
        end = End(False, None, 0.0, still_running=False)
        frames = [*Outcome(error_reply(error)).frames(), encode(end)]
        await FrameStream(send).finish(b"".join(frames))

    async def _run(self, job: RunJob, call: ModelCall, stream: FrameStream) -> list[bytes]:
        """Takes a slot, runs the pipeline and returns the last frames. The slot is then kept for the next job, or free."""
        started = time.perf_counter()
        slot = self._host.reservations.take(job.slot)
        try:
            if slot is None:
                slot = await call.cancellable(self._host.gate.acquire(CallKind.JOB), "slot")
                started = time.perf_counter()
            result = await self._result(call, stream)
        except ClientGone as error:
            result = Outcome(error_reply(error))
        ms = (time.perf_counter() - started) * 1000
        stopped = call.stopped_by if call.stopped.is_set() else None
        kept = not stopped and result.reply.status < 500 and self._keep(job, slot)
        if slot and result.closing:
            result.closing.add_done_callback(lambda _: slot.release())
        elif slot and not kept:
            slot.release()
        fault = WELL if stopped else await self._fault_of(result.reply)
        end = End(kept, stopped, round(ms, 3), result.closing is not None, fault)
        if result.reply.files:
            await self._send_files(result, stream)
            return [*encode_body(result.reply.body), encode(end)]
        return [*result.frames(), encode(end)]

    async def _fault_of(self, reply: Reply) -> Fault:
        """What a failure says about this host. The host is asked at once if its model or server is healthy."""
        if reply.fault or reply.status < 500:
            return reply.fault
        return UNHEALTHY if await self._host.liveness.is_failing() else WELL

    async def _send_files(self, result: Outcome, stream: FrameStream) -> None:
        """Sends the head of the answer and the files of the output, which are never joined in memory."""
        reply = result.reply
        await stream.write(encode(Result(reply.status, dict(reply.all_headers()), False, False)))
        async for piece in contents(reply.files):
            for frame in encode_body(piece):
                await stream.write(frame)

    def _keep(self, job: RunJob, slot: Slot | None) -> bool:
        """Keeps the slot for the worker's next job, unless a sync call waits, because sync calls go first."""
        if not job.slot or not slot or not job.keep_slot or self._host.gate.sync_waiting:
            return False
        self._host.reservations.keep(job.slot, slot)
        return True

    async def _result(self, call: ModelCall, stream: FrameStream) -> Outcome:
        outcome = await self._answer(call)
        if isinstance(outcome, Streaming):
            result = await self._send_chunks(outcome, call, stream)
        elif isinstance(outcome, SlottedResponse):
            result = await self._run_response(outcome, call, stream)
        else:
            result = Outcome(outcome)
        if call.stopped.is_set():
            return Outcome(error_reply(ClientGone("the result")))
        return result

    async def _send_chunks(
        self, streaming: Streaming, call: ModelCall, stream: FrameStream
    ) -> Outcome:
        """Sends each chunk as an output frame at once. If the generator fails, the job fails."""
        text = True
        try:
            while (chunk := await streaming.chunks.next()) is not END:
                text = text and isinstance(chunk, str)
                await stream.write(encode(OutputChunk(chunk_bytes(chunk))))
            result = Outcome(Reply(200, b"", TEXT if text else BINARY), streamed=True, text=text)
        except StreamGap as error:
            # The generator's thread may stay silent for ever. The answer goes out now, and the slot is free once the thread returns.
            closing = asyncio.create_task(close_stream(streaming.chunks))
            return Outcome(error_reply(error), closing=closing)
        except ClientGone as error:
            call.stopped_by = "closed"
            result = Outcome(error_reply(error))
        except (Exception, SystemExit) as error:  # the model's own, of any kind
            file = self._host.package.model_class_filename
            log_user_error("Exception while generating streamed response", error, file)
            result = Outcome(_reply_after_break(error, file))
        await close_stream(streaming.chunks)
        return result

    async def _run_response(
        self, slotted: SlottedResponse, call: ModelCall, stream: FrameStream
    ) -> Outcome:
        """Runs the model's own Response as a server would, and records its ASGI messages."""
        recorder = _ResponseRecorder(stream)
        try:
            sending = slotted.response(call.request.scope, body_receiver(call), recorder)
            await call.cancellable(sending, "streaming", with_grace=True)
        except ClientGone as error:
            call.stopped_by = "closed"
            return Outcome(error_reply(error))
        except Exception as error:  # the generator inside raised
            file = self._host.package.model_class_filename
            log_user_error("Exception while generating streamed response", error, file)
            return Outcome(_reply_after_break(error, file))
        return recorder.outcome()


class _ResponseRecorder:
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
            await self._take_body(bytes(message.get("body", b"")), bool(message.get("more_body")))

    async def _take_body(self, body: bytes, more: bool) -> None:
        self._streamed = self._streamed or more
        if not self._streamed:
            self._body = body
        elif body:
            await self._stream.write(encode(OutputChunk(body)))

    def outcome(self) -> Outcome:
        content_type = self._headers.get("content-type", BINARY)
        headers = {"content-type": content_type, **self._headers}
        text = content_type.startswith("text/")
        return Outcome(Reply(self._status, self._body, content_type), self._streamed, text, headers)


def _reply_after_break(error: BaseException, model_file: str) -> Reply:
    """The reply when the model raised in the middle of a stream. An HTTPException becomes the answer, any other one a failure."""
    if is_http_exception(error):
        return error_reply(error)
    return failed_reply(error, error, model_file)


def _scope_for_model(scope: Scope, job: RunJob) -> Scope:
    """The ASGI scope as for a predict call of the gateway, with its path and the request id as a header."""
    path, headers = job.path or PREDICT_PATH, scope["headers"]
    if all(name != ID_HEADER for name, _ in headers):
        headers = [*headers, (ID_HEADER, job.request_id.encode("latin-1", "replace"))]
    return {**scope, "path": path, "raw_path": path.encode(), "headers": headers, "path_params": {}}

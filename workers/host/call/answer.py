"""Answers a sync call: with a complete reply, a stream of chunks, or the model's own Response."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import Message, Send

from deployments.sendable import why_unsendable
from workers.host.call.call import ModelCall, body_receiver
from workers.host.call.event_errors import error_event, is_told
from workers.host.call.files import contents
from workers.host.call.framing import FramedSend
from workers.host.errors import (
    CLIENT,
    ClientGone,
    HostError,
    ModelExit,
    Reply,
    UnsendableResponse,
    UserCodeError,
    error_headers,
    error_reply,
    is_http_exception,
)
from workers.host.faults import FAULTS
from workers.host.logs import log_user_error
from workers.host.model.codec import encode_result
from workers.host.model.failure import describe
from workers.host.model.methods import V1_METHODS
from workers.host.model.pipeline import SlottedResponse, Streaming
from workers.host.model.stream import END, ChunkStream, OddChunk, StreamGap, chunk_bytes
from workers.host.state import ModelHost

Answer = Reply | Streaming | SlottedResponse
AnswerCall = Callable[[ModelCall], Awaitable[Answer]]


@dataclass(frozen=True)
class Broken:
    """The end of a stream that failed. `aborts` says whether the connection must be closed."""

    error: BaseException
    aborts: bool = False


class StreamAborted(Exception):
    """The stream failed. The connection must be closed, so that the client sees that the body is not complete."""


async def answer(host: ModelHost, call: ModelCall) -> Answer:
    """Runs predict, or the /v1 method of the call's path. A failure before the first chunk becomes a Reply."""
    try:
        pipeline = host.pipeline
        method = V1_METHODS.get(call.scope["path"])
        result = await (pipeline.v1(method, call) if method else pipeline.predict(call))
        FAULTS.ended_well()
        if isinstance(result, Streaming):
            return result
        if isinstance(result, SlottedResponse):
            mark_error(result.response)
            return result
        return encode_result(result, call)
    except Exception as error:  # whatever it is, the client gets an answer and the host goes on
        file = host.package.model_class_filename
        if not isinstance(error, HostError) and not is_http_exception(error):
            log_user_error("Unhandled exception", error, file)
        if isinstance(error, (UserCodeError, ModelExit)) and error.__cause__:
            return failed_reply(error, error.__cause__, file)
        return error_reply(error)


def failed_reply(error: BaseException, raised: BaseException, model_file: str) -> Reply:
    """The answer to `error`, with the model's exception for the owner."""
    fault = FAULTS.note(raised)
    return replace(error_reply(error), failure=describe(raised, model_file), fault=fault)


def mark_error(response: Response) -> None:
    """Adds the error headers to a model's own response of 300 and above."""
    if response.status_code >= 300:
        for name, value in error_headers(CLIENT):
            response.headers[name] = value


async def send_answer(answer: Answer, call: ModelCall, send: Send) -> None:
    """Sends the answer over ASGI. Raises StreamAborted if the connection must be closed."""
    if isinstance(answer, Reply):
        await send_reply(answer, send)
        return
    framed = FramedSend.asked(call, send)
    if isinstance(answer, Streaming):
        await _send_stream(answer, call, framed or send, framed)
    else:
        await _send_response(answer, call, framed or send, framed)


async def send_reply(reply: Reply, send: Send) -> None:
    """Sends a complete reply, head and body."""
    headers, body = reply.all_headers(), reply.body
    if reply.status in (204, 304):  # these have none, even if a model's HTTPException has a detail
        body = b""
    else:
        size = len(body) + sum(file.size for file in reply.files)
        headers.append(("content-length", str(size)))
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": raw})
    try:
        async for piece in contents(reply.files):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    except OSError as error:
        raise StreamAborted from error
    await send({"type": "http.response.body", "body": body})


def check_head(message: Message) -> None:
    """Raises UnsendableResponse if no server could send the head of a model's own response."""
    if why := why_unsendable(message["status"], message.get("headers", ())):
        raise UnsendableResponse(why)


async def _send_response(
    answer: SlottedResponse, call: ModelCall, send: Send, framed: FramedSend | None
) -> None:
    started = False

    async def checked(message: Message) -> None:
        nonlocal started
        if message["type"] == "http.response.start":
            check_head(message)
            started = True
        elif not message.get("more_body"):
            call.answered = True  # what follows are the response's background tasks
        await send(message)

    try:
        sending = answer.response(call.request.scope, body_receiver(call), checked)
        await call.cancellable(sending, "streaming", with_grace=True)
    except ClientGone as error:
        raise StreamAborted from error
    except Exception as error:  # the head cannot be sent, or the generator inside raised
        FAULTS.note(error)
        log_user_error("Exception while generating streamed response", error, "model.py")
        if not started:
            known = error if isinstance(error, HostError) else UserCodeError()
            await send_reply(error_reply(known), send)
        elif not (framed and await framed.failed(error)):
            raise StreamAborted from error
    finally:
        if answer.slot:
            answer.slot.release()


async def _send_stream(
    streaming: Streaming, call: ModelCall, send: Send, framed: FramedSend | None
) -> None:
    # Unbounded, so that the slot is free as soon as the model is done, however slowly the client reads.
    queue: asyncio.Queue[object] = asyncio.Queue()
    producer = asyncio.create_task(_produce(streaming, queue))
    headers = MutableHeaders({"content-type": streaming.media_type})
    await send({"type": "http.response.start", "status": 200, "headers": headers.raw})
    first = b""
    try:
        while not isinstance(chunk := await queue.get(), Broken) and chunk is not END:
            body = chunk_bytes(chunk)
            first = first or body
            await send({"type": "http.response.body", "body": body, "more_body": True})
    except OddChunk as error:
        call.stop()
        chunk = Broken(error, aborts=True)
    told = isinstance(chunk, Broken) and framed and await framed.failed(chunk.error)
    if isinstance(chunk, Broken) and chunk.aborts and not told:
        raise StreamAborted from chunk.error
    if not told:
        await send({"type": "http.response.body", "body": _last(chunk, call.scope["path"], first)})
    await producer


def _last(end: object, path: str, first: bytes) -> bytes:
    """What is left to send of a stream that has ended, and began with `first`: an event if it failed on a Model API."""
    if isinstance(end, Broken) and is_told(path, first):
        return error_event(path, end.error)
    return b""


async def _produce(streaming: Streaming, queue: asyncio.Queue[object]) -> None:
    """Puts all chunks into the queue. If the model fails, the body ends early. If it is silent too long, the body is aborted."""
    chunks, end = streaming.chunks, END
    try:
        while (chunk := await chunks.next()) is not END:
            queue.put_nowait(chunk)
    except ClientGone:
        pass  # nobody reads on
    except StreamGap as error:
        end = Broken(error, aborts=True)
    except (Exception, SystemExit) as error:  # the model's; Truss, too, ends the body and logs
        FAULTS.note(error)
        log_user_error("Exception while generating streamed response", error, "model.py")
        end = Broken(error)
    queue.put_nowait(end)
    await close_stream(chunks)
    if streaming.slot:
        streaming.slot.release()


async def close_stream(chunks: ChunkStream) -> None:
    """Closes the generator. Exceptions of its finally blocks are only logged."""
    try:
        await chunks.close()
    except (Exception, SystemExit) as error:  # the model's own clean-up failed
        log_user_error("Exception while closing the stream", error, "model.py")

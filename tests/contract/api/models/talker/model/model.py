"""Speaks the five /v1 shapes; predict streams on request, gated by files so that tests need no clock."""

import hashlib
import json
import os
import time
from pathlib import Path

from fastapi import HTTPException, Request
from fastapi.responses import Response, StreamingResponse


def sse(events):
    """The events as Server-Sent Events."""
    for name, data in events:
        head = f"event: {name}\n" if name else ""
        text = data if isinstance(data, str) else json.dumps(data)
        yield f"{head}data: {text}\n\n"


def stream(events):
    return StreamingResponse(sse(events), media_type="text/event-stream")


def wait_for(path):
    while path and not os.path.exists(path):
        time.sleep(0.01)


def described(path):
    """What the model gets for a file; anything else as it came."""
    if not isinstance(path, Path):
        return path
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    about = path.stat()
    return {
        "path": str(path),
        "sha256": digest.hexdigest(),
        "size": about.st_size,
        "mode": oct(about.st_mode & 0o777),
    }


def made(kind, path=None):
    """An output with files of every kind, or one that cannot be."""
    if kind == "many":
        return [b"x"] * 101
    if kind == "large":
        return {"file": Path(path)}
    return {
        "image": b"\x89PNG\r\n\x1a\n" + bytes(range(200)),
        "deep": [{"html": b"<html><script>alert(1)</script>"}, (b"<svg onload='x()'/>",), b""],
        "path": Path(__file__),
        "number": 7,
    }


class Model:
    """A model without weights."""

    def predict(self, order: dict, request: Request):
        if "stream" in order:
            return self._chunks(order["stream"], order.get("gate"))
        if "gone" in order:  # says so in a file when its caller has left
            with request.state.watch_disconnect() as gone:
                open(order["gone"] + ".started", "w").close()
                gone.wait(30)
                open(order["gone"], "w").close()
        if "make" in order:
            return made(**order["make"])
        if "files" in order:
            wait_for(order.get("gate"))
            return [described(path) for path in order["files"]]
        if "cookie" in order:
            return Response(request.headers.get("cookie", "none"), headers={"set-cookie": "who=me"})
        if "odd" in order:  # an answer of this model's own; a line in the file for each run
            with open(order["tally"], "a") as tally:
                tally.write("run\n")
            return self._odd(**order["odd"])
        if "megabytes" in order:
            return (b"x" * 1048576 for _ in range(order["megabytes"]))
        return {
            "id": request.headers["x-baseten-request-id"],
            "trace": request.headers.get("traceparent"),
        }

    def _odd(self, status, headers, raises=False):
        if raises:
            raise HTTPException(status, "odd")
        response = Response("odd")
        response.status_code = status
        response.raw_headers += [(n.encode(), v.encode()) for n, v in headers]
        return response

    def _chunks(self, chunks, gate):
        for number, chunk in enumerate(chunks):
            wait_for(gate and f"{gate}.{number}")
            yield chunk

    def chat_completions(self, body: dict, request: Request):
        self._wait(body, request)
        if "raise" in body:
            raise HTTPException(*body["raise"])
        said = str(body["messages"][-1]["content"] if body.get("messages") else "")
        if said.startswith("refuse "):
            raise HTTPException(400, said)
        words = ["Hello", " ", "there"]
        if said.startswith("say "):  # in two pieces
            words = [said[4 : len(said) // 2], said[len(said) // 2 :]]
        base = {"id": "c1", "created": 1, "model": body["model"]}
        if not body.get("stream"):
            choice = {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "".join(words)},
            }
            usage = {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}
            return {**base, "object": "chat.completion", "choices": [choice], "usage": usage}
        chunks = [
            {
                **base,
                "object": "chat.completion.chunk",
                "choices": [{"index": 0, "delta": {"content": w}, "finish_reason": None}],
            }
            for w in words
        ]
        if "break" in body:
            return self._breaks([(None, chunks[0])])
        if said == "octets":
            return Response(
                b"".join(p.encode() for p in sse(self._gated(chunks, None))),
                media_type="application/octet-stream",
            )
        if said == "generate":
            return sse(self._gated(chunks, None))
        gate = said[len("wait for ") :] if said.startswith("wait for ") else None
        return stream(self._gated(chunks, gate))

    def _breaks(self, events):
        yield from sse(events)
        raise ValueError("a secret")

    def _wait(self, body, request):
        if "late" in body:  # until its caller has left
            with request.state.watch_disconnect() as gone:
                gone.wait(30)

    def _gated(self, chunks, gate):
        for chunk in chunks:
            yield None, chunk
            wait_for(gate)
        yield None, "[DONE]"

    def completions(self, body: dict, request: Request):
        choice = {"index": 0, "text": "Hello", "finish_reason": "stop", "logprobs": None}
        return {
            "id": "t1",
            "object": "text_completion",
            "created": 1,
            "model": body["model"],
            "choices": [choice],
        }

    def embeddings(self, body: dict, request: Request):
        given = body.get("input", "")
        inputs = given if isinstance(given, list) else [given]
        data = [
            {"object": "embedding", "index": i, "embedding": [float(len(str(x))), 0.5]}
            for i, x in enumerate(inputs)
        ]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return {"object": "list", "model": body["model"], "data": data, "usage": usage}

    def messages(self, body: dict, request: Request):
        self._wait(body, request)
        if "raise" in body:
            raise HTTPException(*body["raise"])
        usage = {"input_tokens": 1, "output_tokens": 1}
        message = {
            "id": "m1",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "stop_sequence": None,
        }
        if not body.get("stream"):
            return {
                **message,
                "content": [{"type": "text", "text": "Hello"}],
                "stop_reason": "end_turn",
                "usage": usage,
            }
        start = {**message, "content": [], "stop_reason": None, "usage": usage}
        block = {"type": "text", "text": ""}
        if "break" in body:
            return self._breaks([("message_start", {"type": "message_start", "message": start})])
        # A generator, and no response of its own: what the client accepts decides how it is sent.
        return sse(
            [
                ("message_start", {"type": "message_start", "message": start}),
                (
                    "content_block_start",
                    {"type": "content_block_start", "index": 0, "content_block": block},
                ),
                (
                    "content_block_delta",
                    {
                        "type": "content_block_delta",
                        "index": 0,
                        "delta": {"type": "text_delta", "text": "Hello"},
                    },
                ),
                ("content_block_stop", {"type": "content_block_stop", "index": 0}),
                (
                    "message_delta",
                    {
                        "type": "message_delta",
                        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                        "usage": usage,
                    },
                ),
                ("message_stop", {"type": "message_stop"}),
            ]
        )

    def responses(self, body: dict, request: Request):
        self._wait(body, request)
        if "raise" in body:
            raise HTTPException(*body["raise"])
        content = {"type": "output_text", "text": "Hello", "annotations": []}
        output = {
            "id": "o1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [content],
        }
        response = {
            "id": "r1",
            "object": "response",
            "created_at": 1,
            "model": body["model"],
            "status": "completed",
            "output": [output],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        }
        if not body.get("stream"):
            return response
        delta = {
            "type": "response.output_text.delta",
            "item_id": "o1",
            "output_index": 0,
            "content_index": 0,
            "delta": "Hello",
            "sequence_number": 1,
            "logprobs": [],
        }
        done = {"type": "response.completed", "sequence_number": 2, "response": response}
        return stream([("response.output_text.delta", delta), ("response.completed", done)])

"""Responses as OpenAI's Responses API has them, made from chat completions, and from what a model streams.

Sources: OpenAI's API reference, "Responses", "Streaming events" and "Chat completions".
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from api.problems import Problem

Fields = dict[str, Any]
SAME = (
    "frequency_penalty", "logit_bias", "metadata", "model", "parallel_tool_calls",
    "presence_penalty", "seed", "stop", "stream", "temperature", "tool_choice", "top_p", "user",
)  # fmt: skip
OF_OURS = ("response.created", "response.queued", "response.in_progress")  # we say these ourselves
LAST = ("response.completed", "response.incomplete", "response.failed")


def as_chat(asked: Mapping[str, Any]) -> Fields:
    """The chat completion for a response. Raises Problem 400 for an input that is no text."""
    chat: Fields = {name: asked[name] for name in SAME if asked.get(name) is not None}
    messages = [{"role": "system", "content": asked["instructions"]}] if asked.get("instructions") else []  # fmt: skip
    given = asked.get("input", "")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(items, list):
        raise _wrong("input: give a text or a list of messages.", "input")
    chat["messages"] = messages + [_message(item) for item in cast("list[object]", items)]
    if asked.get("max_output_tokens") is not None:
        chat["max_tokens"] = asked["max_output_tokens"]
    if asked.get("tools"):
        chat["tools"] = [_tool(tool) for tool in asked["tools"]]
    if asked.get("stream"):
        chat["stream_options"] = {"include_usage": True}
    return chat


def of_chat(chat: Mapping[str, Any]) -> Fields:
    """What a response says that a chat completion has answered."""
    choices = chat.get("choices") or [{}]
    message = choices[0].get("message") or {}
    output: list[Fields] = []
    if message.get("content"):
        output.append(_said(0, message["content"]))
    for call in message.get("tool_calls") or ():
        output.append(_called(len(output), call))
    usage = chat.get("usage")
    fields: Fields = {"model": chat.get("model"), "output": output}
    if usage:
        fields["usage"] = {
            "input_tokens": usage.get("prompt_tokens", 0),
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": usage.get("completion_tokens", 0),
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.get("total_tokens", 0),
        }
    if choices[0].get("finish_reason") == "length":
        fields["incomplete_details"] = {"reason": "max_output_tokens"}
    return fields


def response_in(output: bytes, chat: bool) -> Fields | None:
    """The response that a model has answered, at once or streamed; from a chat completion if it was a chat. None if there is none."""
    try:
        said = json.loads(output)
    except (ValueError, RecursionError):
        streamed = Streamed()
        streamed.take(output.decode(errors="replace").replace("\r\n", "\n"))
        streamed.end()
        return streamed.said()
    if not isinstance(said, dict):
        return None
    return of_chat(cast("Fields", said)) if chat else cast("Fields", said)


class Streamed:
    """Reads what a model streams for a response, as Server-Sent Events: chunks of a chat completion, or events of a response."""

    def __init__(self) -> None:
        self._held = ""  # an event that is not complete
        self._text: list[str] = []
        self._calls: dict[int, Fields] = {}
        self._chat: Fields = {}
        self._finish: str | None = None
        self._response: Fields | None = None

    def take(self, text: str) -> list[Fields]:
        """The events of the response in that text, without sequence numbers."""
        *complete, self._held = (self._held + text).split("\n\n")
        return [told for block in complete for event in _events(block) for told in self._told(event)]  # fmt: skip

    def end(self) -> list[Fields]:
        """The events after the last chunk of a chat completion."""
        rest = self.take("\n\n")
        if not self._chat:
            return rest
        output = of_chat(self.chat())["output"]
        return [*rest, *(event for place, item in enumerate(output) for event in _closing(place, item))]  # fmt: skip

    def said(self) -> Fields | None:
        """The response as far as it has come; None if there was nothing of one."""
        return of_chat(self.chat()) if self._chat else self._response

    def chat(self) -> Fields:
        """The chat completion of the chunks so far."""
        calls = [self._calls[index] for index in sorted(self._calls)]
        message = {"content": "".join(self._text), "tool_calls": calls}
        return {**self._chat, "choices": [{"message": message, "finish_reason": self._finish}]}

    def _told(self, event: Fields) -> Iterator[Fields]:
        kind = str(event.get("type", ""))
        if kind in LAST:
            self._response = event.get("response") or {}
        elif kind.startswith("response.") and kind not in OF_OURS:
            yield event
        elif "choices" in event:
            yield from self._chunk(event)

    def _chunk(self, chunk: Fields) -> Iterator[Fields]:
        known = {name: chunk[name] for name in ("model", "usage") if chunk.get(name)}
        self._chat = {"object": "chat.completion", **self._chat, **known}
        for choice in chunk["choices"] or ():
            self._finish = choice.get("finish_reason") or self._finish
            delta = choice.get("delta") or {}
            for call in delta.get("tool_calls") or ():
                self._add(call)
            if text := delta.get("content"):
                if not self._text:
                    yield from _opening()
                self._text.append(text)
                yield _of_text("response.output_text.delta", 0, delta=text, logprobs=[])

    def _add(self, call: Fields) -> None:
        known = self._calls.setdefault(call.get("index", 0), {"id": "", "function": {"name": "", "arguments": ""}})  # fmt: skip
        function = call.get("function") or {}
        known["id"] = call.get("id") or known["id"]
        known["function"]["name"] = function.get("name") or known["function"]["name"]
        known["function"]["arguments"] += function.get("arguments") or ""


def _wrong(message: str, param: str) -> Problem:
    return Problem(400, "client_error", message, more={"param": param})


def _message(item: object) -> Fields:
    said = cast("Fields", item) if isinstance(item, dict) else {}
    kind = said.get("type", "message")
    if kind == "function_call_output":
        return {"role": "tool", "tool_call_id": said.get("call_id"), "content": said.get("output")}
    if kind == "function_call":
        function = {"name": said.get("name"), "arguments": said.get("arguments")}
        call = {"id": said.get("call_id"), "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    if kind != "message" or "role" not in said:
        raise _wrong("input: this model answers chats; give it messages with a role.", "input")
    role = "system" if said["role"] == "developer" else said["role"]
    content = said.get("content", "")
    return {"role": role, "content": content if isinstance(content, str) else _parts(content)}


def _parts(content: object) -> object:
    """The parts of a message; a text if all are texts, which every model takes."""
    parts = cast("list[Fields]", content) if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if part.get("type") in ("input_text", "output_text", "text")]  # fmt: skip
    if len(texts) == len(parts) and all(isinstance(text, str) for text in texts):
        return "".join(cast("list[str]", texts))
    return [_part(part) for part in parts]


def _part(part: Fields) -> Fields:
    if part.get("type") == "input_image":
        return {"type": "image_url", "image_url": {"url": part.get("image_url")}}
    if isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    raise _wrong(f"input: this model answers chats, which have no {part.get('type')}.", "input")


def _tool(tool: object) -> Fields:
    said = cast("Fields", tool) if isinstance(tool, dict) else {}
    if said.get("type") != "function":
        raise _wrong("tools: this model answers chats, which have functions only.", "tools")
    names = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": {name: said[name] for name in names if name in said}}


def _said(place: int, text: str, status: str = "completed") -> Fields:
    content = [{"type": "output_text", "text": text, "annotations": []}] if text else []
    return {"type": "message", "id": f"msg_{place}", "role": "assistant", "status": status, "content": content}  # fmt: skip


def _called(place: int, call: Mapping[str, Any]) -> Fields:
    function = call.get("function") or {}
    return {
        "type": "function_call",
        "id": f"fc_{place}",
        "call_id": call.get("id"),
        "name": function.get("name"),
        "arguments": function.get("arguments"),
        "status": "completed",
    }


def _of_text(kind: str, place: int, **more: object) -> Fields:
    return {"type": kind, "item_id": f"msg_{place}", "output_index": place, "content_index": 0, **more}  # fmt: skip


def _opening() -> Iterator[Fields]:
    item = _said(0, "", "in_progress")
    yield {"type": "response.output_item.added", "output_index": 0, "item": item}
    part = {"type": "output_text", "text": "", "annotations": []}
    yield _of_text("response.content_part.added", 0, part=part)


def _closing(place: int, item: Fields) -> Iterator[Fields]:
    if item["type"] == "message":
        (part,) = item["content"]
        yield _of_text("response.output_text.done", place, text=part["text"], logprobs=[])
        yield _of_text("response.content_part.done", place, part=part)
    else:
        at = {"item_id": item["id"], "output_index": place}
        begun = {**item, "arguments": "", "status": "in_progress"}
        yield {"type": "response.output_item.added", "output_index": place, "item": begun}
        kind, arguments = "response.function_call_arguments", item["arguments"]
        yield {"type": f"{kind}.delta", **at, "delta": arguments}
        yield {"type": f"{kind}.done", **at, "name": item["name"], "arguments": arguments}
    yield {"type": "response.output_item.done", "output_index": place, "item": item}


def _events(block: str) -> Iterator[Fields]:
    """The JSON object of an event; nothing if it has none, as at the end of a chat."""
    lines = [line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:")]
    try:
        said = json.loads("\n".join(lines))
    except (ValueError, RecursionError):
        return
    if isinstance(said, dict):
        yield cast("Fields", said)

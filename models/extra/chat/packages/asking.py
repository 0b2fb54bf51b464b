"""What a chat completion asks for, checked: a field that this model cannot obey is refused by name, not ignored."""

import json
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException

MOST_TOKENS = 1024  # of an answer, if the caller names no number
STOPS = 4  # stop sequences, as OpenAI has it
# Fields that change nothing in the answer, and those that are understood only with the value that means "as usual".
HARMLESS = {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls"}  # fmt: skip
USUAL = {
    "n": (1,), "frequency_penalty": (0,), "presence_penalty": (0,), "logprobs": (False,), "tools": ([],),
    "tool_choice": ("none", "auto"), "response_format": ({"type": "text"},), "logit_bias": ({},),
}  # fmt: skip
KNOWN = {"model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "stop"}  # fmt: skip
ROLES = ("system", "developer", "user", "assistant")


@dataclass(frozen=True)
class Asked:
    """A chat completion. A temperature of 0 takes the likeliest token; without a seed each answer is another one."""

    model: str
    messages: list[dict[str, str]]
    stream: bool
    include_usage: bool
    max_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    stop: tuple[str, ...]


def asked_in(body: Any) -> Asked:
    """The body, checked. Raises HTTPException 400 that names the field."""
    if not isinstance(body, dict):
        raise _wrong("messages", "send a JSON object with messages.")
    given = {name: value for name, value in body.items() if value is not None}
    for name, value in given.items():
        if name not in KNOWN | HARMLESS and value not in USUAL.get(name, ()):
            usual = (
                f"this model takes it only as {json.dumps(USUAL[name][0])}."
                if name in USUAL
                else ""
            )
            raise _wrong(name, usual or "this model does not know it.")
    options = given.get("stream_options") or {}
    if not isinstance(options, dict):
        raise _wrong("stream_options", "give an object.")
    named = "max_completion_tokens" if "max_completion_tokens" in given else "max_tokens"
    return Asked(
        model=str(given.get("model") or ""),
        messages=_messages(given.get("messages")),
        stream=given.get("stream") is True,
        include_usage=options.get("include_usage") is True,
        max_tokens=int(_number(given, named, 1, 1 << 31, MOST_TOKENS, whole=True)),
        temperature=_number(given, "temperature", 0, 2, 1),
        top_p=_number(given, "top_p", 0, 1, 1),
        seed=int(_number(given, "seed", -(1 << 63), (1 << 63) - 1, 0, whole=True)) if "seed" in given else None,
        stop=_stops(given.get("stop", [])),
    )  # fmt: skip


def too_long(tokens: int, most: int) -> HTTPException:
    """The answer to a prompt that fills the model's context, with OpenAI's code."""
    message = f"messages: {tokens} tokens leave no room for an answer; this model reads {most} in all. Send a shorter chat."
    return HTTPException(400, {"message": message, "param": "messages", "code": "context_length_exceeded"})  # fmt: skip


def _messages(given: Any) -> list[dict[str, str]]:
    if not isinstance(given, list) or not given:
        raise _wrong("messages", "give a list with at least one message.")
    return [_message(f"messages[{place}]", message) for place, message in enumerate(given)]


def _message(where: str, message: Any) -> dict[str, str]:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        raise _wrong("messages", f"{where} needs a role: {', '.join(ROLES)}.")
    content = message.get("content")
    if isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
        for part in content
    ):
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise _wrong("messages", f"{where} needs a content of text; this model reads nothing else.")
    role = "system" if message["role"] == "developer" else message["role"]
    return {"role": role, "content": content}


def _number(given: dict[str, Any], name: str, least: float, most: float, usual: float, whole: bool = False) -> float:  # fmt: skip
    value = given.get(name, usual)
    kinds = (int,) if whole else (int, float)
    if type(value) not in kinds or not least <= value <= most:
        kind = "a whole number" if whole else "a number"
        bounds = f"of at least {least}" if most >= 1 << 31 else f"from {least} to {most}"
        raise _wrong(name, f"give {kind} {bounds}.")
    return value


def _stops(given: Any) -> tuple[str, ...]:
    stops = [given] if isinstance(given, str) else given
    if not isinstance(stops, list) or len(stops) > STOPS or not all(isinstance(stop, str) and stop for stop in stops):  # fmt: skip
        raise _wrong("stop", f"give a text or a list of at most {STOPS} texts that are not empty.")
    return tuple(stops)


def _wrong(name: str, what: str) -> HTTPException:
    return HTTPException(400, {"message": f"{name}: {what}", "param": name})

"""Reads request bodies. Bytes are counted as they come; the announced length is not trusted."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json
from starlette.requests import Request

from api.problems import Problem
from api.unknown_fields import NO_FIELD, guess
from tasks.outside_text import utf8, whole_number
from tasks.process.mistakes import sentence_of

T = TypeVar("T")
ITEMS_A_TURN = 500  # items of a batch that are checked before the event loop does other work
MOST_WRONG = 20  # wrong items of a batch that the answer names
MOST_MISTAKES = 10  # of one item that the answer names
DEEPEST = 100  # levels of nested JSON; deeper ones could exhaust a parser's stack


def too_large(size: int, cap: int) -> Problem:
    """The answer to a body that is too long, in Baseten's words. `size` and `cap` are in bytes."""
    message = f"payload size of {size} bytes exceeds maximum size of {cap} bytes"
    return Problem(413, "payload_too_large", message)


def check_declared(request: Request, cap: int) -> None:
    """Raises Problem 413 if the announced length is too large."""
    declared = whole_number(request.headers.get("content-length", ""))
    if declared is not None and declared > cap:
        raise too_large(declared, cap)


async def counted(request: Request, cap: int) -> AsyncGenerator[bytes]:
    """The chunks of the body. Raises Problem 413 as soon as it is too long, 415 if it is compressed."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Problem(415, "client_error", "Send the body uncompressed (no Content-Encoding).")
    check_declared(request, cap)
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > cap:
            raise too_large(received, cap)
        if chunk:
            yield chunk


async def read(request: Request, cap: int) -> bytes:
    """The whole body. Raises Problem 413 and 415, as `counted` does."""
    return b"".join([chunk async for chunk in counted(request, cap)])


def decoded(body: bytes) -> Any:
    """The body as JSON, in any encoding that a model takes on the sync path. Raises Problem 400."""
    body = as_utf8(body)
    if _too_deep(body):
        message = f"The body is nested deeper than {DEEPEST} levels."
        raise Problem(400, "client_error", message)
    try:
        return from_json(body, cache_strings=False)
    except ValueError:
        return _as_models_do(body)


def as_utf8(body: bytes) -> bytes:
    """Converts a body in UTF-16 or UTF-32, or with a byte order mark, to UTF-8."""
    encoding = json.detect_encoding(body)
    if encoding == "utf-8":
        return body
    try:
        return body.decode(encoding, "surrogatepass").encode(errors="surrogatepass")
    except UnicodeError as error:
        raise Problem(400, "client_error", f"Invalid JSON payload: {error}") from None


def _as_models_do(body: bytes) -> Any:
    """Parses with the parser of the model hosts, so that both accept the same (half a surrogate pair too) with the same errors."""
    try:
        return json.loads(body.decode(errors="surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise Problem(400, "client_error", f"Invalid JSON payload: {error}") from None


def encoded(value: Any) -> bytes:
    """JSON for a model host; half a surrogate pair is escaped."""
    try:
        return to_json(value, inf_nan_mode="constants")
    except ValueError:
        return json.dumps(value).encode()


def parse(adapter: TypeAdapter[T], body: bytes) -> T:
    """The body as that type. Raises Problem 400 that names the field."""
    return validated(adapter, decoded(body))


def validated(adapter: TypeAdapter[T], value: Any) -> T:
    """The value as that type. Raises Problem 400 that names the field."""
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise Problem(400, "client_error", _sentence(error, adapter)) from None


async def validated_items(adapter: TypeAdapter[T], value: Any) -> list[T]:
    """A list of such values. The event loop runs in between. Raises Problem 400 with the first few errors."""
    if not isinstance(value, list) or not value:
        raise Problem(400, "client_error", "Send a list of one request or more.")
    items: list[T] = []
    said: list[str] = []
    for place, item in enumerate(cast("list[Any]", value)):
        if place % ITEMS_A_TURN == 0:
            await asyncio.sleep(0)
        try:
            items.append(adapter.validate_python(item))
        except ValidationError as error:
            said.append(_sentence(error, adapter, f"{place}."))
            if len(said) == MOST_WRONG:
                break
    if said:
        raise Problem(400, "client_error", "; ".join(said))
    return items


STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"')


def _too_deep(body: bytes) -> bool:
    """Checks the depth by counting brackets outside of strings. Most bodies have few brackets and cost nothing."""
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return False
    depth = deepest = 0
    for bracket in re.findall(rb"[\[\]{}]", STRINGS.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest > DEEPEST


def _sentence(error: ValidationError, adapter: TypeAdapter[Any], before: str = "") -> str:
    said: list[str] = []
    for mistake in error.errors(include_url=False)[:MOST_MISTAKES]:
        where = before + ".".join(str(part) for part in mistake["loc"])
        text = sentence_of(mistake)
        if mistake["type"] == "extra_forbidden":
            text = NO_FIELD + guess(str(mistake["loc"][-1]), _fields(adapter))
        said.append(f"{where}: {text}" if where else text)
    sentences = "; ".join(said)
    return utf8(sentences)


def _fields(adapter: TypeAdapter[Any]) -> list[str]:
    schema = adapter.json_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    return [name for part in parts for name in part.get("properties", {})]

"""Request bodies: counted while they are received, never trusted to be as long as they say."""

import re
from collections.abc import AsyncGenerator
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json
from starlette.requests import Request

from api.problems import Problem

T = TypeVar("T")
DEEPEST = 100  # levels of JSON; a parser's stack is not a client's to fill


def too_large(size: int, cap: int) -> Problem:
    """Both figures in one sentence, as Baseten says it."""
    message = f"payload size of {size} bytes exceeds maximum size of {cap} bytes"
    return Problem(413, "payload_too_large", message)


def check_declared(request: Request, cap: int) -> None:
    """Raises Problem 413 when the body says itself that it is too long."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > cap:
        raise too_large(int(declared), cap)


async def counted(request: Request, cap: int) -> AsyncGenerator[bytes]:
    """The body's chunks. Raises Problem 413 as soon as it is too long, 415 for a compressed one."""
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
    """The whole body. Raises Problem as `counted`."""
    return b"".join([chunk async for chunk in counted(request, cap)])


def parse(adapter: TypeAdapter[T], body: bytes) -> T:
    """The body as that type. Raises Problem 400 that names the field."""
    try:
        value = from_json(body, cache_strings=False)
    except ValueError as error:
        raise Problem(400, "client_error", f"The body is not JSON: {error}.") from None
    if _too_deep(body):
        message = f"The body is nested deeper than {DEEPEST} levels."
        raise Problem(400, "client_error", message)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise Problem(400, "client_error", _sentence(error)) from None


STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"')


def _too_deep(body: bytes) -> bool:
    """Counts brackets outside strings; most bodies have fewer than allowed levels and cost nothing."""
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return False
    depth = deepest = 0
    for bracket in re.findall(rb"[\[\]{}]", STRINGS.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest > DEEPEST


def _sentence(error: ValidationError) -> str:
    said: list[str] = []
    for one in error.errors()[:10]:
        where = ".".join(str(part) for part in one["loc"])
        said.append(f"{where}: {one['msg']}" if where else one["msg"])
    return "; ".join(said)

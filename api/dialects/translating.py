"""Errors of a model host in the caller's dialect. What a model says itself is passed on once, and never wrapped again.

The host marks its own errors with a header, and says `{"error": ...}`: a sentence, or what the model gave its HTTPException. An
engine's errors have no such header and pass unchanged.
"""

import json
import re
from typing import Any, cast

from api.dialects.errors import Dialect, anthropic_type, dialect_of, openai_type
from deployments.http_client.connection import Connection
from deployments.http_client.exchange import RawHeaders
from tasks.outside_text import utf8_json, whole_number

OF_THE_HOST = b"x-baseten-error-source"
LARGEST = 64 * 1024  # bytes of an error that is looked into; a larger one passes as it is
JSON = (b"content-type", b"application/json")
NO_METHOD = re.compile(r"^`(\w+)` must only be called if model has it\.$")  # Truss's words
REPLACED = frozenset({b"content-type", b"content-length"})


async def translated(answer: Connection, path: str) -> tuple[RawHeaders, bytes] | None:
    """The headers and the whole body of an error of the host, for a caller of that path. None for any other answer."""
    dialect = dialect_of(path)
    if answer.status < 400 or dialect == "baseten" or not _is_looked_into(answer.headers):
        return None
    pieces = [await answer.read()]
    while not answer.complete:
        pieces.append(await answer.read())
    body = in_dialect(dialect, answer.status, b"".join(pieces))
    kept = [pair for pair in answer.headers if pair[0] not in REPLACED]
    return [*kept, JSON, (b"content-length", b"%d" % len(body))], body


def in_dialect(dialect: Dialect, status: int, body: bytes) -> bytes:
    """The body of a host's error in that dialect; what is already an error object of it stays."""
    try:
        said = cast("dict[str, Any]", json.loads(body))["error"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return body
    if isinstance(said, dict) and isinstance(said.get("error"), (dict, str)):  # type: ignore[union-attr]
        return _dumped(said)  # the model wrote the whole body
    error = cast("dict[str, Any]", said if isinstance(said, dict) else {"message": _text(said)})
    if dialect == "anthropic":
        return _dumped({"type": "error", "error": {"type": anthropic_type(status), **error}})
    missing = {"type": openai_type(status), "param": None, "code": None}
    return _dumped({"error": {**error, **{k: v for k, v in missing.items() if k not in error}}})


def _is_looked_into(headers: RawHeaders) -> bool:
    """Whether it is an error of the host, short enough. One without a length is a stream."""
    said = dict(headers)
    size = whole_number(said.get(b"content-length", b"").decode("latin-1"))
    return OF_THE_HOST in said and size is not None and size <= LARGEST


def _text(said: object) -> str:
    if isinstance(said, str):
        return NO_METHOD.sub(r"This model has no method `\1`, so it does not answer here.", said)
    return json.dumps(said)


def _dumped(value: object) -> bytes:
    return utf8_json(json.dumps(value)).encode()

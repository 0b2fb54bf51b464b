"""Errors on `/v1/...` and `.../sync/v1/...` in the words of the clients that call there: OpenAI's, or Anthropic's on `messages`.

Routes of Kingpost's own under `/v1`, such as `/v1/jobs`, keep Baseten's shape.
"""

import re
from collections.abc import Mapping
from typing import Literal

Dialect = Literal["baseten", "openai", "anthropic"]

# What a model may define under /v1.
FORMS = ("audio/transcriptions", "audio/translations", "images/edits")  # multipart/form-data
ROUTES = (
    "chat/completions",
    "completions",
    "embeddings",
    "messages",
    "responses",
    "rerank",
    "images/generations",
    "audio/speech",
    *FORMS,
)
OPENAI_ROUTES = (
    r"chat/completions|completions|embeddings|responses|audio/\w+|images/\w+|rerank|batches|models$"
    r"|files(?=$|/file-)"
)
_PATH = re.compile(
    rf"(?:/(?:models|chains)/.+|.*/sync)?/v1/(?:(messages)|{OPENAI_ROUTES})(?:/.*)?", re.S
)

# Baseten's code -> type and code of OpenAI's object. Any other code stays as it is, with the type of its status.
_OPENAI: Mapping[str, tuple[str, str | None]] = {
    "client_error": ("invalid_request_error", None),
    "model_does_not_exist": ("invalid_request_error", "model_not_found"),
    "rate_limited": ("requests", "rate_limit_exceeded"),
    "internal_baseten_error": ("server_error", "internal_error"),
}
_UNAUTHORIZED = {401: "invalid_api_key", 403: "insufficient_permissions"}
_ANTHROPIC: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def dialect_of(path: str) -> Dialect:
    """The dialect of a path, as the client wrote it or as routes know it."""
    if "/v1/" not in path:
        return "baseten"
    found = _PATH.fullmatch(path)
    if found is None:
        return "baseten"
    return "anthropic" if found[1] else "openai"


def body_of(
    dialect: Dialect, status: int, code: str, message: str, more: Mapping[str, object]
) -> dict[str, object]:
    """The JSON body of an error. `code` is Baseten's; `more` are additional fields, of which OpenAI's object knows `param`."""
    if dialect == "anthropic":
        return {"type": "error", "error": {"type": anthropic_type(status), "message": message}}
    if dialect == "openai":
        kind, said = _openai(status, code)
        error = {"message": message, "type": kind, "param": None, "code": said}
        return {"error": {**error, **more}}
    return {"error": message, "error_code": code, **more}


def anthropic_type(status: int) -> str:
    """Anthropic's type of error for a status."""
    return _ANTHROPIC.get(status, "api_error" if status >= 500 else "invalid_request_error")


def openai_type(status: int) -> str:
    """OpenAI's type of error for a status, where nothing else is known."""
    return "server_error" if status >= 500 else "invalid_request_error"


def _openai(status: int, code: str) -> tuple[str, str | None]:
    if code == "unauthorized":
        return "invalid_request_error", _UNAUTHORIZED.get(status, code)
    return _OPENAI.get(code, (openai_type(status), code))

"""The last event of a stream of a Model API that failed: the clients of OpenAI and Anthropic raise what it says.

Without it a chat that broke off would look like one that is complete. Sources: both APIs' references, "Streaming"; vLLM says it in the
same way. Truss's server just ends the stream.
"""

import json
from typing import Any, cast

from workers.host.errors import UserCodeError, error_reply, is_http_exception
from workers.host.model.methods import V1_METHODS

MESSAGES = "/v1/messages"
BEGINS = (b"data:", b"event:", b"id:", b":")  # of a stream of Server-Sent Events


def is_told(path: str, first: bytes) -> bool:
    """Whether a stream on that path, which begins so, ends with an event when it fails."""
    return path in V1_METHODS and first.lstrip().startswith(BEGINS)


def error_event(path: str, error: BaseException) -> bytes:
    """The event. An HTTPException is for callers; of anything else it says that the model failed. It also ends an event that is not complete."""
    reply = error_reply(error if is_http_exception(error) else UserCodeError())
    detail = json.loads(reply.body)["error"]
    if isinstance(detail, dict) and isinstance(detail.get("error"), dict):  # type: ignore[union-attr]
        detail = cast("dict[str, Any]", detail)["error"]  # the model wrote the whole body
    fields: dict[str, Any] = (
        cast("dict[str, Any]", detail) if isinstance(detail, dict) else {"message": _text(detail)}
    )
    wrong = reply.status < 500
    if path == MESSAGES:
        kind = "invalid_request_error" if wrong else "api_error"
        said = {"type": "error", "error": {"type": kind, **fields}}
        return f"\n\nevent: error\ndata: {json.dumps(said)}\n\n".encode()
    kind = "invalid_request_error" if wrong else "server_error"
    said = {"error": {"message": "", "type": kind, "param": None, "code": None, **fields}}
    return f"\n\ndata: {json.dumps(said)}\n\n".encode()


def _text(detail: object) -> str:
    return detail if isinstance(detail, str) else json.dumps(detail)

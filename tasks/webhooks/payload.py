"""Builds the body of a webhook: Baseten's keys in Baseten's order.

Some receivers parse the body with pydantic, dump it again and hash the result. `model_dump_json` makes exactly the bytes that
they get (compact, raw UTF-8, pydantic's floats and times).
"""

import base64
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, model_serializer
from pydantic_core import from_json

from tasks.job import Job
from tasks.state import Status

JSON = "application/json"


class _Error(BaseModel):
    code: str
    message: str


class WebhookBody(BaseModel):
    """The body. `data` is the output, null unless the request succeeded. NaN and Infinity in it become null.

    `content_type` is the type of an output that is not JSON.
    """

    request_id: str
    model_id: str
    deployment_id: str
    type: Literal["async_request_completed"] = "async_request_completed"
    time: datetime
    data: Any
    errors: list[_Error]
    # Keys that Baseten does not have come last, and only if they have a value.
    content_type: str | None = None
    result_url: str | None = None  # of an output that is too large to be sent
    chain_id: str | None = None

    @model_serializer(mode="wrap")
    def _without_empty(self, handler: Any) -> dict[str, Any]:
        said: dict[str, Any] = handler(self)
        for name in ("content_type", "result_url", "chain_id"):
            if said[name] is None:
                del said[name]
        return said


def webhook_id(request_id: str) -> str:
    """The webhook-id of a request's final state, the same for every delivery."""
    return f"msg_{request_id}"


def body(
    job: Job, output: bytes | None, now: datetime | None = None, detailed: bool = False
) -> bytes:
    """The bytes to send and to sign. An output that is None is too large to be sent. `now` is the time of sending.

    `detailed` says whether the job's key may read the model's exception.
    """
    succeeded = job.status is Status.SUCCEEDED
    data, content_type = None, None
    if succeeded and output is not None:
        data, content_type = _data(output, job.output_type or "")
    last = job.errors[-1:]
    said = WebhookBody(
        request_id=job.request_id,
        model_id=job.model_id,
        deployment_id=job.deployment_id,
        time=now or datetime.now(UTC),
        data=data,
        content_type=content_type,
        result_url=f"/async_request/{job.request_id}/result" if output is None else None,
        errors=[]
        if succeeded
        else [_Error(code=str(error.code), message=error.told(detailed)) for error in last],
        chain_id=job.chain_id or None,
    )
    return said.model_dump_json().encode()


def test_body(request_id: str) -> bytes:
    """The bytes of a webhook that stands for no request."""
    told = {"message": "This is a test of Kingpost's webhooks."}
    said = WebhookBody(
        request_id=request_id,
        model_id="test",
        deployment_id="test",
        time=datetime.now(UTC),
        data=told,
        errors=[],
    )
    return said.model_dump_json().encode()


def _data(output: bytes, content_type: str) -> tuple[Any, str | None]:
    """`data` and `content_type`: JSON as a value without a type. Other text as a string, and other bytes as base64, with their type."""
    if content_type.startswith(JSON):
        with suppress(ValueError):
            return _json(output), None
    try:
        return output.decode(), content_type
    except UnicodeDecodeError:
        return base64.b64encode(output).decode(), content_type


def _json(output: bytes) -> Any:
    """The JSON value. Raises ValueError for a value that a receiver could not read from the body.

    Such values are JSON lines, halves of surrogate pairs, integers of 5,000 digits, and more than 200 levels of brackets.
    """
    value = from_json(output)
    from_json(b"[" + output + b"]")  # a level deeper, as it is inside the body
    return value

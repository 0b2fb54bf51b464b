"""The lines of a batch's results: what became of each request, as OpenAI's Batch API says it."""

import json

from deployments.batches.lines import Line, job_id
from tasks.batches.verbs import Batch, LineResult
from tasks.errors import NotFound
from tasks.payloads import Payloads
from tasks.state import Status

MOST_OUTPUT = 16 << 20  # bytes of an output that goes into a result
ENDED = {
    "expired": (
        "batch_expired",
        "The request could not be run before the completion window ended.",
    ),
    "cancelled": ("batch_cancelled", "The batch was cancelled before the request was done."),
}
NOT_RUN = ("not_run", "The request was not queued, or was deleted before its result was written.")
NO_TEXT = ("output_not_text", "The output of the model is neither JSON nor text.")
TOO_LARGE = ("output_too_large", f"The output has more than {MOST_OUTPUT} bytes.")
GONE = ("output_gone", "The output is gone.")
INVALID = "invalid_request"
Said = tuple[str, str]  # code and message of an error


def error_of(batch: Batch, line: Line, result: LineResult, why_not: str) -> Said | None:
    """Why a line has no output; None if it has. `why_not` is why it never was a job."""
    if line.wrong:
        return INVALID, line.wrong
    match result.status:
        case Status.SUCCEEDED:
            return None if result.size <= MOST_OUTPUT else TOO_LARGE
        case Status.EXPIRED:
            return ENDED["expired"]
        case Status.FAILED:
            return result.error
        case Status.CANCELED:
            return ENDED.get(batch.ending) or result.error
        case _:
            return ENDED.get(batch.ending) or ((INVALID, why_not) if why_not else NOT_RUN)


def is_cut_off(error: Said | None) -> bool:
    """Whether a line failed because its batch was cancelled or expired."""
    return error in ENDED.values()


async def output_of(result: LineResult, files: Payloads) -> bytes | None:
    """The output of a job that succeeded; None if it is gone. Raises PayloadUnavailable."""
    if not result.ref:
        return result.output
    try:
        return await files.read_whole(result.ref)
    except NotFound:
        return None


def written(batch: Batch, line: Line, content_type: str, output: bytes) -> tuple[bytes, bool]:
    """The line of a result, and whether it is one of success."""
    body = _body(content_type, output)
    if body is None:
        return failed(batch, line, NO_TEXT), False
    request_id = job_id(batch.id, line.number)
    head = json.dumps({"id": f"batch_req_{request_id}", "custom_id": line.custom_id})[:-1]
    response = f', "response": {{"status_code": 200, "request_id": "{request_id}", "body": {body}}}'
    return f'{head}{response}, "error": null}}\n'.encode(errors="backslashreplace"), True


def failed(batch: Batch, line: Line, error: Said) -> bytes:
    """The line of an error."""
    said = {
        "id": f"batch_req_{job_id(batch.id, line.number)}",
        "custom_id": line.custom_id,
        "response": None,
        "error": {"code": error[0], "message": error[1]},
    }
    return json.dumps(said).encode() + b"\n"


def _body(content_type: str, output: bytes) -> str | None:
    """The output as JSON in one line: JSON as it is, other text as a string. None for what is neither."""
    try:
        text = output.decode()
        if content_type.partition(";")[0].strip().lower() == "application/json":
            value = json.loads(text)
            return json.dumps(value) if "\n" in text or "\r" in text else text
        return json.dumps(text)
    except (ValueError, RecursionError):
        return None

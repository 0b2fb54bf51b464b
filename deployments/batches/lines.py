"""The lines of a batch's file: requests as OpenAI's Batch API has them."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from tasks.batches.verbs import Batch
from tasks.job import RequestId
from tasks.outside_text import utf8

LONGEST_ID = 512  # characters of a custom_id


@dataclass(frozen=True)
class Line:
    """A line: the request in it, or what is wrong with it. `number` counts lines from 0; blank ones do not count."""

    number: int
    custom_id: str | None
    body: dict[str, Any]
    wrong: str = ""

    @property
    def model(self) -> str:
        """The name of the model that it is for."""
        return cast(str, self.body["model"])


def job_id(batch_id: str, number: int) -> RequestId:
    """The id of a line's job. It is always the same, so a line becomes one job however often it is sent."""
    return RequestId(hashlib.sha256(f"{batch_id} {number}".encode()).hexdigest()[:32])


def jobs_of(batch: Batch, part: int) -> list[str]:
    """The ids of the jobs of a part, also of those of lines that cannot be run."""
    first, behind = batch.starts[2 * part + 1], batch.starts[2 * part + 3]
    return [job_id(batch.id, number) for number in range(first, behind)]


def lines_in(piece: bytes, first: int, endpoint: str) -> Iterator[Line]:
    """The lines of a whole number of lines of the file, the first of which has that number."""
    for number, raw in enumerate(filled(piece), first):
        yield line_of(number, raw, endpoint)


def filled(piece: bytes) -> Iterator[bytes]:
    """The lines that are not blank."""
    return (raw for raw in piece.split(b"\n") if raw.strip())


def line_of(number: int, raw: bytes, endpoint: str) -> Line:
    """The request of a line."""
    try:
        said = json.loads(raw)
    except (ValueError, RecursionError):
        return Line(number, None, {}, f"Line {number + 1} is no JSON.")
    if not isinstance(said, dict):
        return Line(number, None, {}, f"Line {number + 1} is no JSON object.")
    fields = cast("dict[str, Any]", said)
    custom_id, body = fields.get("custom_id"), fields.get("body")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= LONGEST_ID:
        wrong = f"Line {number + 1} has no custom_id of 1 to {LONGEST_ID} characters."
        return Line(number, None, {}, wrong)
    wrong = _mistake(fields, endpoint)
    return Line(number, utf8(custom_id), {} if wrong else cast("dict[str, Any]", body), wrong)


def _mistake(fields: dict[str, Any], endpoint: str) -> str:
    """What is wrong with a request; '' if it can be run."""
    body = fields.get("body")
    if fields.get("method") != "POST":
        return "method: a request of a batch has the method POST."
    if fields.get("url") != endpoint:
        return f"url: this batch is for {endpoint}."
    if not isinstance(body, dict):
        return "body: give an object."
    known = cast("dict[str, Any]", body)
    model = known.get("model")
    if not isinstance(model, str) or not model:
        return "body.model: give the name or id of a model."
    return "body.stream: a batch has no streams." if known.get("stream") else ""

"""The bytes of a webhook: whatever the output, every recipe in the field comes to the same signature."""

import hashlib
import hmac
import json
import random
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from standardwebhooks import Webhook

from tasks.job import Job, RequestId, Retry
from tasks.state import Status
from tasks.webhooks import payload, schedule, signatures
from tasks.webhooks.schedule import Attempt
from tasks.webhooks.signatures import headers_for

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(), inner, max_size=6),
)
TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))


class Error(BaseModel):
    code: str
    message: str


class Received(BaseModel):
    """The model of the recipe that parses a body and dumps it again before it hashes."""

    request_id: str
    model_id: str
    deployment_id: str
    type: str
    time: datetime
    data: Any
    errors: list[Error]


class Tolerant(Received, extra="allow"):
    """As flow-judge's, which keeps what it does not know."""


def job(status: Status = Status.SUCCEEDED, output_type: str = "application/json") -> Job:
    return Job(
        RequestId("0" * 32), status, "dep00001", "model001", "alice", 0, 1, Retry(), 0, 0, output_type=output_type
    )  # fmt: skip


@given(JSON, TIMES)
def test_every_recipe_accepts_every_output(output: object, now: datetime) -> None:
    secret = signatures.new_secret()
    body = payload.body(job(), json.dumps(output).encode(), now)
    headers = headers_for("0" * 32, body, [secret], int(time.time()))
    Webhook(secret).verify(body, headers)
    again = Received.model_validate_json(body).model_dump_json().encode()
    for said in (body, again):
        expected = "v1=" + hmac.new(secret.encode(), said, hashlib.sha256).hexdigest()
        assert headers["X-BASETEN-SIGNATURE"] == expected


@given(JSON)
def test_a_verifier_that_keeps_what_it_does_not_know_accepts_a_chain_s_body(output: object) -> None:
    body = payload.body(replace(job(), chain_id="chain001"), json.dumps(output).encode())
    assert list(json.loads(body))[-2:] == ["errors", "chain_id"]
    assert Tolerant.model_validate_json(body).model_dump_json().encode() == body


DEEP = b"[" * 300 + b"]" * 300
NO_JSON = [
    (b"", ""),
    (b'{"a":1}\n{"a":2}\n', '{"a":1}\n{"a":2}\n'),
    (b'{"a":', '{"a":'),
    (b'"caf\\udce9.png"', '"caf\\udce9.png"'),
    (b"1, 2", "1, 2"),
    (b"1][2", "1][2"),
    (DEEP, DEEP.decode()),
    (b"[" * 201 + b"]" * 201, "[" * 201 + "]" * 201),  # one level too many inside the body
    (b"7" * 5000, "7" * 5000),
    (b"\xef\xbb\xbf1", "\ufeff1"),
    (b'"\xff"', "Iv8i"),
]


@pytest.mark.parametrize(("output", "data"), NO_JSON, ids=lambda output: repr(output)[:20])
def test_an_output_that_is_no_json_travels_as_text_or_base64(output: bytes, data: str) -> None:
    body = payload.body(job(output_type="application/json; charset=utf-8"), output)
    said = json.loads(body)
    assert (said["data"], said["content_type"]) == (data, "application/json; charset=utf-8")
    assert list(said)[-2:] == ["errors", "content_type"]
    again = Tolerant.model_validate_json(body).model_dump_json().encode()
    assert again == body  # as verifiers in the field make it


def test_nan_and_infinity_become_null() -> None:
    said = json.loads(payload.body(job(), b"[NaN, Infinity, 1e999, 1]"))
    assert (said["data"], "content_type" in said) == ([None, None, None, 1], False)


def test_text_travels_as_text_and_bytes_as_base64() -> None:
    text, image = job(output_type="text/plain"), job(output_type="image/png")
    for output_job, output, data in (
        (text, "né".encode(), "né"),
        (text, b"42", "42"),
        (image, b"\xff\xfe", "//4="),
    ):
        said = json.loads(payload.body(output_job, output))
        assert (said["data"], said["content_type"]) == (data, output_job.output_type)


def test_the_schedule_follows_its_table_with_little_jitter() -> None:
    for before, delay in enumerate(schedule.DELAYS):
        said = schedule.after(Attempt(500), before, random.Random(before))
        assert said.verdict == "retry"
        assert abs(said.delay_ms / 1000 - delay) <= delay * schedule.JITTER + 0.001
    assert schedule.after(Attempt(500), len(schedule.DELAYS), random.Random(1)).verdict == "failed"


NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
RETRY_AFTER = {
    "100": 100,
    " 7 ": 7,
    "9" * 5000: 86_400,
    "\u00b2": 0,
    "\uff11\uff12": 0,
    "-5": 0,
    "1.5": 0,
    "1e3": 0,
    "": 0,
    "soon": 0,
    "Sat, 28 Nov 2026 12:10:00 GMT": 600,
    "Sat, 28 Nov 2026 14:10:00 +0200": 600,
    "Sat, 28 Nov 2020 12:10:00 GMT": 0,
    "Sat, 28 Nov 9999 12:10:00 GMT": 86_400,
    "Sat, 99 Nov 99999999999 12:10:00 GMT": 0,
}


@pytest.mark.parametrize("said", RETRY_AFTER, ids=lambda value: repr(value)[:30])
def test_retry_after_is_seconds_or_a_date_and_anything_else_is_nothing(said: str) -> None:
    assert schedule.retry_after_seconds(said, NOW) == RETRY_AFTER[said]


def test_which_answers_are_tried_again() -> None:
    rng = random.Random(1)
    verdicts = {code: schedule.after(Attempt(code), 0, rng).verdict for code in range(200, 600)}
    assert {code for code, verdict in verdicts.items() if verdict == "delivered"} == set(
        range(200, 300)
    )
    assert {code for code, verdict in verdicts.items() if verdict == "retry"} == {
        408,
        409,
        425,
        429,
        *range(500, 600),
    }
    assert schedule.after(Attempt(None, "timeout"), 0, rng).verdict == "retry"

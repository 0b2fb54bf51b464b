"""The bytes of a webhook: whatever the output, every recipe in the field comes to the same signature."""

import hashlib
import hmac
import json
import random
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from standardwebhooks import Webhook

from tasks.job import Job, RequestId, Retry
from tasks.state import Status
from tasks.webhooks import payload, schedule, signatures
from tasks.webhooks.schedule import Attempt
from tasks.webhooks.sender import headers_for

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
    class Tolerant(Received, extra="allow"):
        """As flow-judge's."""

    body = payload.body(replace(job(), chain_id="chain001"), json.dumps(output).encode())
    assert list(json.loads(body))[-2:] == ["errors", "chain_id"]
    assert Tolerant.model_validate_json(body).model_dump_json().encode() == body


def test_what_json_cannot_say_becomes_null_text_or_base64() -> None:
    said = json.loads(payload.body(job(), b"[NaN, Infinity, 1]"))
    assert said["data"] == [None, None, 1]
    assert json.loads(payload.body(job(output_type="text/plain"), "né".encode()))["data"] == "né"
    assert json.loads(payload.body(job(output_type="image/png"), b"\xff\xfe"))["data"] == "//4="


def test_the_schedule_follows_its_table_with_little_jitter() -> None:
    for before, delay in enumerate(schedule.DELAYS):
        said = schedule.after(Attempt(500), before, random.Random(before))
        assert said.verdict == "retry"
        assert abs(said.delay_ms / 1000 - delay) <= delay * schedule.JITTER + 0.001
    assert schedule.after(Attempt(500), len(schedule.DELAYS), random.Random(1)).verdict == "failed"


def test_which_answers_are_tried_again() -> None:
    rng = random.Random(1)
    verdicts = {code: schedule.after(Attempt(code), 0, rng).verdict for code in range(200, 600)}
    assert {code for code, one in verdicts.items() if one == "delivered"} == set(range(200, 300))
    assert {code for code, one in verdicts.items() if one == "retry"} == {
        408,
        409,
        425,
        429,
        *range(500, 600),
    }
    assert schedule.after(Attempt(None, "timeout"), 0, rng).verdict == "retry"

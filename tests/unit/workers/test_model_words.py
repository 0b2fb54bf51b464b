"""What a model says of an error, in any bytes, becomes a job's error that the store takes."""

import json

import pytest

from tasks.job import JobError, Lease, RequestId
from tasks.payloads import Payloads
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from tasks.store.records import error_json
from tasks.store.verbs import progress
from workers.hosting.client import HostAnswer
from workers.hosting.spool import Spool
from workers.replica.classify import classify, message_of

SAID = {
    b'{"error":"caf\\udce9.png"}': "caf\\udce9.png",
    b'{"error":"\\ud83d\\ude00"}': "😀",
    b'{"error":' + b"[" * 50_000: '{"error":' + "[" * 991,
    b"caf\xe9": "caf\\udce9",
    b'{"error":"' + b"x" * 5000: "x" * 1000,
    b"7" * 5000: "7" * 1000,
    b"": "The model answered with status 500.",
}


def answer(body: bytes, settings: Settings, **more: object) -> HostAnswer:
    spool = Spool(Payloads(settings), "ref", 65_536, lambda: None)
    spool.write(body)
    return HostAnswer(spool, **{"status": 500, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize("body", SAID, ids=lambda words: repr(words)[:20])
def test_an_error_body_of_any_kind_has_a_message(body: bytes) -> None:
    message = message_of(answer(body, Settings()))
    assert message == SAID[body]
    assert json.loads(error_json(JobError("X", message)))["message"] == message


def test_half_a_pair_in_an_error_or_in_progress_is_escaped_for_the_store(store: JobStore) -> None:
    said = error_json(JobError("X", "caf\udce9", "\udce9"))
    assert json.loads(said) == {"code": "X", "message": "caf\\udce9", "detail": "\\udce9"}
    store.run(progress(Lease(RequestId("r"), "f"), 0.5, "caf\udce9.png"))


def test_a_content_type_that_would_break_an_answer_is_none() -> None:
    made = answer(b"1", Settings(), status=200, content_type="text/plain\r\nx: y")
    outcome = classify(None, made)  # type: ignore[arg-type]
    assert outcome.output_type == "application/octet-stream"  # type: ignore[union-attr]

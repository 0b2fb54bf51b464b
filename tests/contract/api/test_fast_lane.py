"""The fast lane answers as the framework does: the same calls to an app with it and to one without."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from api.fast_lane import FastLane
from tests.conditions import wait_until
from tests.contract.api.conftest import KEY, Live

Call = tuple[str, str, dict[str, Any]]
VARIES = {"date"}
TARGETS = (
    "/production",
    "/development",
    "/environments/production",
    "/environments/none",
    "/deployment/none",
)
PREFIX = "/models/echo"
BODIES = ("{}", '{"model_input": 1}', '{"model_input": 1, "priority": 7}', "not json", "")


def calls() -> Iterator[Call]:
    for target in TARGETS:
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
            for action in ("async_predict", "async_queue_status", "predict", "sync/v1/none"):
                yield method, f"{PREFIX}{target}/{action}", {"content": '{"model_input": 1}'}
    for body in BODIES:
        yield "POST", f"{PREFIX}/production/async_predict", {"content": body}
        yield "POST", f"{PREFIX}/production/predict", {"content": body}
    for path in ("", "/", "/none", "/none/", "/a%2Fb", "/none%0A", "/none?wait=-1", "/none?wait=x"):
        for method in ("GET", "HEAD", "DELETE", "POST", "PATCH"):
            yield method, f"/async_request{path}", {}
    for path in ("/production/predict/", "/production/predict%0A", "/production/sync", "//predict"):
        yield "POST", path, {"content": "1"}
    yield "GET", f"{PREFIX}/production/async_queue_status?x=1", {}
    yield "POST", f"{PREFIX}/production/async_predict", {"headers": {"content-encoding": "gzip"}}
    yield "POST", f"{PREFIX}/production/async_predict", {"headers": {"authorization": "Bearer x"}}
    yield "GET", "/async_request/none", {"headers": {"authorization": "none"}}


@pytest.fixture(scope="module")
def both(live: Live) -> Iterator[tuple[TestClient, TestClient]]:
    """An app as it is, and one without the lane."""
    with_lane, without = create_app(live.settings), create_app(live.settings)
    kept = [middleware for middleware in without.user_middleware if middleware.cls is not FastLane]
    assert len(kept) == len(without.user_middleware) - 1
    without.user_middleware = kept
    key = {"authorization": f"Api-Key {KEY}"}
    with TestClient(with_lane, headers=key) as fast, TestClient(without, headers=key) as slow:
        yield fast, slow


def seen(answer: Any) -> tuple[int, list[tuple[str, str]], str]:
    """What must be the same; ids, times and how many jobs there are at that moment are not."""
    headers = [pair for pair in answer.headers.multi_items() if pair[0] not in VARIES]
    masked = [(name, re.sub("[0-9a-f]{32}", "ID", value)) for name, value in headers]
    body = re.sub(r"[0-9a-f]{32}|[0-9-]+T[0-9:.]+Z", "ID", answer.text)
    body = re.sub(r'(num_\w+_requests":)\d+', r"\1N", body)
    return answer.status_code, masked, body


def test_every_answer_is_the_same(both: tuple[TestClient, TestClient]) -> None:
    fast, slow = both
    for method, path, more in calls():
        quick, other = (app.request(method, path, **more) for app in (fast, slow))
        assert seen(quick) == seen(other), (method, path, more)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_request_that_exists_reads_the_same(
    both: tuple[TestClient, TestClient], method: str
) -> None:
    fast, slow = both
    later = {"model_input": {"delay": 60}}
    ids = [
        app.post(f"{PREFIX}/production/async_predict", json=later).json()["request_id"]
        for app in both
    ]
    for request_id in ids:  # else one of them may begin between the two reads
        wait_until(
            lambda request_id=request_id: (
                "IN_PROGRESS" in fast.get(f"/async_request/{request_id}").text
            )
        )
    answers = [
        seen(app.request(method, f"/async_request/{request_id}"))
        for app, request_id in zip((fast, slow), ids, strict=True)
    ]
    for request_id in ids:
        fast.delete(f"/async_request/{request_id}")
    assert answers[0][:2] == answers[1][:2]
    assert (answers[0][2].split(",")[:4]) == (answers[1][2].split(",")[:4])

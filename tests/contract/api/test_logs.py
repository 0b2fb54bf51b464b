"""Logs over HTTP: by model, deployment, request, level and time; by pages and as they come; for keys that may deploy."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.routes.control.logs import MOST_VIEWERS
from kingpost.streams.events import Event, Parser
from tasks.log_store.lines import kept_line
from tasks.log_store.verbs import keep_lines
from tasks.store.job_store import JobStore
from tests.conditions import wait_until
from tests.contract.api.conftest import Live


def keep(live: Live, *lines: dict[str, Any], deployment: str = "gone0001") -> None:
    """Writes lines into the store as a replica does, by default of a deployment that was deleted."""
    store = JobStore(live.settings)
    store.run(keep_lines(deployment, [kept_line(fields) for fields in lines]))
    store.close()


def lines(http: httpx.Client, **params: object) -> list[dict[str, Any]]:
    answer = http.get("/v1/logs", params=params)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return answer.json()["lines"]


@contextmanager
def following(http: httpx.Client, after: str = "", **params: object) -> Iterator[Iterator[Event]]:
    headers = {"last-event-id": after} if after else {}
    with http.stream("GET", "/v1/logs/events", params=params, headers=headers) as answer:  # type: ignore[arg-type]
        assert answer.status_code == 200
        parser = Parser()
        yield (event for chunk in answer.iter_bytes() for event in parser.feed(chunk))


def test_what_a_model_prints_for_a_call_is_found_by_its_model_and_its_request(
    live: Live, http: httpx.Client
) -> None:
    answer = http.post("/models/echo/production/predict", json={"fail": "no paper left"})
    request_id = answer.headers["x-baseten-request-id"]
    wait_until(lambda: lines(http, request_id=request_id), 10, "the line was not shipped")
    for params in ({"request_id": request_id}, {"model": "echo", "request_id": request_id[:8]}):
        (line,) = lines(http, **params, level="error")
        assert line["model"] == "echo" and line["request_id"] == request_id
        assert line["level"] == "error" and "no paper left" in line["fields"]["traceback"]
        assert line["deployment_id"] == live.deployment("echo").id
    assert line in lines(http, model=live.deployment("echo").model_id, limit=1000)
    assert lines(http, model="talker", request_id=request_id) == []
    assert lines(http, deployment=line["deployment_id"], since=line["at"], request_id=request_id)
    assert lines(http, request_id=request_id, since="2999-01-01T00:00:00Z") == []


def test_pages_go_back_to_the_first_line(live: Live, http: httpx.Client) -> None:
    deployment, found, cursor = uuid4().hex[:8], list[str](), None
    keep(live, *({"message": str(number)} for number in range(25)), deployment=deployment)
    for _ in range(5):
        params = {"deployment": deployment, "limit": 10} | ({"cursor": cursor} if cursor else {})
        page = http.get("/v1/logs", params=params).json()
        found = [line["message"] for line in page["lines"]] + found
        cursor = page["cursor"]
        if cursor is None:
            break
    assert found == [str(number) for number in range(25)]


def test_who_follows_gets_the_last_lines_then_new_ones_and_resumes_without_a_gap(
    live: Live, http: httpx.Client
) -> None:
    deployment = uuid4().hex[:8]
    keep(live, {"message": "early"}, {"message": "before"}, deployment=deployment)
    with following(http, deployment=deployment, limit=1) as events:
        first = next(events)
        assert first.kind == "line" and first.json()["message"] == "before"
        keep(live, {"message": "other"}, deployment=uuid4().hex[:8])
        keep(live, {"message": "now"}, {"message": "then"}, deployment=deployment)
        now = next(events)
        assert now.json()["message"] == "now" and now.json()["deployment_id"] == deployment
    with following(http, now.id, deployment=deployment) as events:
        assert next(events).json()["message"] == "then"
        keep(live, {"level": "debug", "message": "small"}, deployment=deployment)
        assert next(events).json()["message"] == "small"
    with following(http, first.id, deployment=deployment, level="info") as events:
        assert [next(events).json()["message"] for _ in range(2)] == ["now", "then"]


def test_followers_are_bounded(live: Live) -> None:
    with live.client(limits=httpx.Limits(max_connections=MOST_VIEWERS + 5)) as http:
        opened = [following(http, limit=0, deployment="nobody") for _ in range(MOST_VIEWERS)]
        for each in opened:
            each.__enter__()
        try:
            refused = http.get("/v1/logs/events")
            assert refused.status_code == 429 and "retry-after" in refused.headers
            assert "follow logs on this API already" in refused.json()["error"]
        finally:
            for each in opened:
                each.__exit__(None, None, None)
        wait_until(lambda: _is_let_in(http), 20, "places of followers were not given back")


def _is_let_in(http: httpx.Client) -> bool:
    with http.stream("GET", "/v1/logs/events") as answer:
        return answer.status_code == 200


def test_a_key_that_only_runs_models_reads_no_logs(live: Live) -> None:
    with live.client(live.new_key(scope="inference")) as http:
        for path in ("/v1/logs", "/v1/logs/events"):
            answer = http.get(path, params={"request_id": "0" * 32})
            assert answer.status_code == 403


@pytest.mark.parametrize(
    ("params", "status", "said"),
    [
        ({"model": "nobody"}, 404, "There is no model 'nobody'"),
        ({"cursor": "x"}, 400, "cursor"),
        ({"level": "loud"}, 400, "level"),
        ({"since": "17"}, 400, "2026-01-31T12:00:00Z"),
        ({"request_id": "short"}, 400, "request_id"),
        ({"limit": "0"}, 400, "limit"),
    ],
)
def test_what_cannot_be_is_refused(
    http: httpx.Client, params: dict[str, str], status: int, said: str
) -> None:
    answer = http.get("/v1/logs", params=params)
    assert (answer.status_code, said in answer.json()["error"]) == (status, True), answer.text


def test_an_odd_line_is_shown_as_json_can_hold_it(live: Live, http: httpx.Client) -> None:
    deployment = uuid4().hex[:8]
    odd = {"message": "\udce9", "ts": "yesterday", "level": ["?"], "n": [1, {"deep": "\ud83d"}]}
    keep(live, odd, deployment=deployment)
    (line,) = lines(http, deployment=deployment)
    assert line["level"] == "info" and json.dumps(line["fields"])

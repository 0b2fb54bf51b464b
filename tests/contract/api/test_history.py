"""The history of the last hour over real HTTP: the route, the Python client, and the pictures on the overview."""

import re

import httpx
import pytest

from kingpost import Client
from tests.conditions import wait_until
from tests.contract.api.conftest import KEY, Live, submit

TALKER = "/models/talker/production/async_predict"
ONCE = {"inference_retry_config": {"max_attempts": 1}}
LATE = 10  # s; a process reads the current minute every two seconds


def _run(http: httpx.Client, path: str, given: object, **more: object) -> None:
    request_id = submit(http, given, path, **more)
    http.get(f"/async_request/{request_id}?wait=30").raise_for_status()


def test_the_last_hour_tells_waits_ends_and_errors_of_each_deployment(live: Live) -> None:
    with live.client() as http, Client(live.url, KEY) as client:
        failed = sum(row.failed for row in client.history("talker"))
        _run(http, TALKER, {"odd": "no file to tally in"}, **ONCE)
        _run(http, "/models/echo/production/async_predict", {"a": 1})

        def told() -> bool:
            return sum(row.failed for row in client.history("talker")) == failed + 1

        wait_until(told, LATE, "the history does not tell of the request that failed")
        (talker,) = client.history("talker")
        assert talker.model == "talker" and talker.ended == talker.failed + talker.succeeded
        assert talker.waited_p50_seconds and talker.waited_p95_seconds
        assert talker.waited_p50_seconds <= talker.waited_p95_seconds
        assert {len(values) for values in talker.minutes.values()} == {60}
        assert sum(value or 0 for value in talker.minutes["failed"]) == talker.failed
        (echo,) = client.history(deployment=live.deployment("echo").id)
        assert echo.model == "echo" and echo.claimed >= 1 and echo.succeeded >= 1
        assert echo.error_share == pytest.approx(echo.failed / echo.ended, abs=0.001)  # others, too
        assert len(http.get("/v1/history?limit=1").json()["deployments"]) == 1
        assert http.get("/v1/history?model=nobody").status_code == 404


def test_the_overview_draws_the_last_hour_and_says_it_in_words(live: Live) -> None:
    with live.client() as http:
        _run(http, "/models/echo/production/async_predict", {"a": 1})
        _run(http, TALKER, {"odd": "no file to tally in"}, **ONCE)
        http.post("/ui/login", data={"key": KEY}, headers={"origin": live.url})

        def drawn() -> list[str]:
            said = r'<svg class="spark" role="img"[^>]* aria-label="([^"]+)">'
            return re.findall(said, http.get("/ui").text)

        wait_until(lambda: len(drawn()) >= 4, LATE, "waits and ends of two models are not drawn")
        page = http.get("/ui").text
        assert all(re.search(r"at most \d", said) for said in drawn())
    assert re.search(r"half in [\d.]+ s,</span> <span>95 % in [\d.]+ s", page)
    assert re.search(r"status=FAILED,EXPIRED\">[\w ]*\d+ % failed", page)

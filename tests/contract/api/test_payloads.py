"""Inputs and outputs that are larger than Redis should hold: through the API, the worker and the payload store."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tasks.store import keys
from tasks.store.job_store import connect
from tests.conditions import wait_until
from tests.contract.api.conftest import Live, submit
from tests.memory import MEGABYTE, rss

LARGE = {"text": "x" * 200_000}


def status_of(client: httpx.Client, request_id: str, wait: int = 30) -> dict[str, object]:
    return client.get(f"/async_request/{request_id}?wait={wait}").json()


def files(live: Live, kind: str, request_id: str) -> list[Path]:
    return list((live.folder / "payloads" / kind).glob(f"*/{request_id}*"))


def test_a_large_input_and_its_output_go_around_redis(live: Live, echo: httpx.Client) -> None:
    request_id = submit(echo, LARGE)
    assert status_of(echo, request_id)["status"] == "SUCCEEDED"
    answer = echo.get(f"/async_request/{request_id}/result")
    assert answer.json() == LARGE
    assert answer.headers["content-type"] == "application/json"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert len(files(live, "outputs", request_id)) == 1
    with connect(live.settings) as client:
        assert not client.exists(keys.keyed("output", request_id), keys.keyed("input", request_id))
    assert len(files(live, "inputs", request_id)) == 1  # for a retry
    assert echo.post(f"/async_request/{request_id}/purge").json()["purged"]
    for kind in ("inputs", "outputs"):
        wait_until(lambda kind=kind: not files(live, kind, request_id), 10, f"{kind} are left")


def test_an_output_that_is_gone_is_not_a_request_that_never_was(
    live: Live, echo: httpx.Client
) -> None:
    request_id = submit(echo, LARGE)
    assert status_of(echo, request_id)["status"] == "SUCCEEDED"
    (file,) = files(live, "outputs", request_id)
    file.unlink()
    answer = echo.get(f"/async_request/{request_id}/result")
    assert (answer.status_code, answer.json()["error_code"]) == (410, "application_error")
    assert answer.json()["error"].startswith("The output of the request is gone")


def test_a_small_output_stays_in_redis(live: Live, echo: httpx.Client) -> None:
    request_id = submit(echo, {"a": 1})
    assert status_of(echo, request_id)["status"] == "SUCCEEDED"
    assert echo.get(f"/async_request/{request_id}/result").json() == {"a": 1}
    assert not files(live, "outputs", request_id)


@pytest.fixture
def full_disk(live: Live) -> Iterator[None]:
    """A folder in which nothing can be created: a file is in its place."""
    folder = live.folder / "payloads" / "outputs"
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder.rename(folder.with_name("aside"))
    folder.write_text("")
    yield
    folder.unlink()
    aside.rename(folder)


@pytest.mark.usefixtures("full_disk")
def test_an_output_that_cannot_be_stored_fails_the_job_with_a_code(echo: httpx.Client) -> None:
    request_id = submit(echo, {"size": 100_000})
    status = status_of(echo, request_id)
    assert status["status"] == "FAILED"
    assert [error["code"] for error in status["errors"]] == ["OUTPUT_NOT_STORED"]  # type: ignore[index, union-attr]
    assert echo.get(f"/async_request/{request_id}/result").status_code == 410


def test_an_input_that_is_gone_fails_the_job_after_its_retries(
    live: Live, echo: httpx.Client
) -> None:
    retries = {"max_attempts": 2, "initial_delay_ms": 0, "max_delay_ms": 0}
    with connect(live.settings) as client:
        client.sadd(keys.plain("paused"), live.deployment("echo").id)
        request_id = submit(echo, LARGE, inference_retry_config=retries)
        assert status_of(echo, request_id, 0)["waiting_for"] == "paused"
        (path,) = files(live, "inputs", request_id)
        path.unlink()
        client.srem(keys.plain("paused"), live.deployment("echo").id)
    status = status_of(echo, request_id)
    assert status["status"] == "FAILED"
    assert {error["code"] for error in status["errors"]} == {"INTERNAL_SERVER_ERROR"}  # type: ignore[index, union-attr]
    assert submit_again(echo) == "SUCCEEDED"  # and the slot is free


def submit_again(client: httpx.Client) -> object:
    return status_of(client, submit(client, {"again": True}))["status"]


def test_a_gigabyte_passes_in_flat_memory(live: Live, http: httpx.Client) -> None:
    pids = [live.processes["api"].pid, live.processes["talker"].pid]
    submit(http, {"megabytes": 20}, "/models/talker/production/async_predict")
    request_id = submit(http, {"megabytes": 20}, "/models/talker/production/async_predict")
    read(http, request_id)
    before = [rss(pid) for pid in pids]
    request_id = submit(http, {"megabytes": 1024}, "/models/talker/production/async_predict")
    worst = [0, 0]

    def watch() -> None:
        worst[:] = [max(was, rss(pid)) for was, pid in zip(worst, pids, strict=True)]

    wait_until(lambda: watch() or status_of(http, request_id, 0)["status"] == "SUCCEEDED", 120)
    assert read(http, request_id, watch) == 1024 * MEGABYTE
    grown = [now - was for now, was in zip(worst, before, strict=True)]
    print("grown:", [f"{grown_by / MEGABYTE:.1f} MB" for grown_by in grown])
    assert grown[0] < 20 * MEGABYTE
    assert grown[1] < 64 * MEGABYTE  # two parts of an upload, and what is on its way
    with connect(live.settings) as client:
        assert client.memory_usage(keys.keyed("events", request_id)) < 8 * MEGABYTE
    for path in files(live, "outputs", request_id):
        path.unlink()


def read(client: httpx.Client, request_id: str, each: object = None) -> int:
    """Reads a result to its end; how many bytes."""
    status_of(client, request_id)
    received = 0
    with client.stream("GET", f"/async_request/{request_id}/result", timeout=120) as answer:
        for number, chunk in enumerate(answer.iter_raw()):
            received += len(chunk)
            if callable(each) and number % 50 == 0:
                each()
    return received


def test_the_events_of_a_long_output_end_with_truncated(http: httpx.Client) -> None:
    request_id = submit(http, {"megabytes": 6}, "/models/talker/production/async_predict")
    status_of(http, request_id)
    kinds: list[str] = []
    with http.stream("GET", f"/async_request/{request_id}/events") as answer:
        for line in answer.iter_lines():
            if line.startswith("event: "):
                kinds.append(line.removeprefix("event: "))
            if "truncated" in kinds and line.startswith("data: {"):
                json.loads(line.removeprefix("data: "))
    assert kinds == [
        "status",
        "status",
        "output",
        "output",
        "output",
        "truncated",
        "status",
        "done",
    ]

"""Async requests over HTTP: every field, bound, code and addition of the contract."""

import json
import re
from typing import Any

import httpx
import pytest
from baseten.client.inferenceapi._models import AsyncPredictOutput

from cli.stack.ports import free_port
from tasks.store import keys
from tasks.store.job_store import JobStore
from tests.conditions import wait_until
from tests.contract.api.conftest import Live, submit
from tests.processes import Process, variables

LONG = {"delay": 60}


def final(client: httpx.Client, request_id: str) -> dict[str, Any]:
    def status() -> dict[str, Any]:
        return client.get(f"/async_request/{request_id}", params={"wait": 10}).json()

    wait_until(lambda: status()["status"] not in ("QUEUED", "IN_PROGRESS"), 30)
    return status()


def until(client: httpx.Client, request_id: str, status: str) -> None:
    wait_until(lambda: client.get(f"/async_request/{request_id}").json()["status"] == status, 20)


def test_a_request_runs_from_201_to_its_result(echo: httpx.Client, live: Live) -> None:
    answer = echo.post(
        "/production/async_predict", json={"model_input": {"a": [1, "ü"]}, "priority": 1}
    )
    request_id = answer.json()["request_id"]
    assert (answer.status_code, list(answer.json())) == (201, ["request_id"])
    assert re.fullmatch("[0-9a-f]{32}", request_id)
    assert answer.headers["x-baseten-request-id"] == request_id
    said = final(echo, request_id)
    deployment = live.deployment("echo")
    assert (said["status"], said["webhook_status"]) == ("SUCCEEDED", "NO_WEBHOOK_PROVIDED")
    assert (said["model_id"], said["deployment_id"]) == (deployment.model_id, deployment.id)
    assert (said["errors"], said["priority"], said["attempt"]) == ([], 1, 1)
    assert "chain_id" not in said
    assert said["created_at"].endswith("Z")
    result = echo.get(said["result_url"])
    assert result.json() == {"a": [1, "ü"]}
    assert result.headers["content-type"].startswith("application/json")


BAD = [
    {},
    {"model_input": 1, "priority": 3},
    {"model_input": 1, "priority": -1},
    {"model_input": 1, "priority": "high"},
    {"model_input": 1, "max_time_in_queue_seconds": 9},
    {"model_input": 1, "max_time_in_queue_seconds": 259_201},
    {"model_input": 1, "inference_retry_config": {"max_attempts": 0}},
    {"model_input": 1, "inference_retry_config": {"max_attempts": 11}},
    {"model_input": 1, "inference_retry_config": {"initial_delay_ms": 10_001}},
    {"model_input": 1, "inference_retry_config": {"max_delay_ms": 60_001}},
    {"model_input": 1, "webhook_endpoint": "http://example.com/hook"},
    {"model_input": 1, "webhook_endpoint": "https://user:pass@example.com/hook"},
    {"model_input": 1, "webhook_endpoint": "nonsense"},
    {"model_input": 1, "webhook_endpoint": "https://[:::]/"},
    {"model_input": 1, "webhook_endpoint": "https://127.0.0.1/hook"},
    [],
]


@pytest.mark.parametrize("body", BAD, ids=json.dumps)
def test_a_body_out_of_bounds_is_400_and_says_which_field(echo: httpx.Client, body: object) -> None:
    answer = echo.post("/production/async_predict", json=body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "client_error")
    if isinstance(body, dict) and len(body) > 1:
        assert list(body)[1] in answer.json()["error"]


@pytest.mark.parametrize(
    "field", ["webhook_endpoint", "priority", "max_time_in_queue_seconds", "inference_retry_config"]
)
def test_null_means_the_default(echo: httpx.Client, field: str) -> None:
    assert (
        echo.post("/production/async_predict", json={"model_input": 1, field: None}).status_code
        == 201
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b'{"model_input": 1}x',
        b"[" * 100_000,
        b'{"model_input":' + b"[" * 500 + b"]" * 500 + b"}",
    ],
)
def test_what_is_not_sane_json_is_400(echo: httpx.Client, body: bytes) -> None:
    answer = echo.post("/production/async_predict", content=body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "client_error")


def test_a_payload_above_the_cap_is_413_with_both_figures(echo: httpx.Client) -> None:
    body = json.dumps({"model_input": "x" * 262_144}).encode()
    for content in (body, (body[i : i + 1000] for i in range(0, len(body), 1000))):
        answer = echo.post("/production/async_predict", content=content)
        assert (answer.status_code, answer.json()["error_code"]) == (413, "payload_too_large")
        assert "262144" in answer.json()["error"]


@pytest.mark.parametrize(
    "path", ["/async_request/{}", "/async_request/{}/result", "/async_request/{}/events"]
)
def test_an_unknown_request_is_404(http: httpx.Client, path: str) -> None:
    answer = http.get(path.format("0" * 32))
    assert (answer.status_code, answer.json()["error"]) == (404, "There is no such async request.")


def test_nan_and_infinity_reach_the_model(echo: httpx.Client) -> None:
    answer = echo.post("/production/async_predict", content=b'{"model_input": [NaN, -Infinity]}')
    request_id = answer.json()["request_id"]
    assert final(echo, request_id)["status"] == "SUCCEEDED"
    assert echo.get(f"/async_request/{request_id}/result").text == "[NaN, -Infinity]"


def test_a_failed_request_lists_the_error_of_each_attempt(echo: httpx.Client) -> None:
    retry = {"max_attempts": 2, "initial_delay_ms": 0, "max_delay_ms": 0}
    said = final(echo, submit(echo, {"fail": "boom"}, inference_retry_config=retry))
    assert (said["status"], said["attempt"]) == ("FAILED", 2)
    assert [error["code"] for error in said["errors"]] == ["MODEL_PREDICT_ERROR"] * 2
    result = echo.get(f"/async_request/{said['request_id']}/result")
    assert (result.status_code, result.json()["error_code"]) == (410, "application_error")


def test_the_owner_reads_what_a_model_raised_and_other_keys_its_code(live: Live) -> None:
    retry = {"max_attempts": 1}
    for scope, told in (("full", True), ("inference", False)):
        with live.client(live.new_key(scope=scope)) as http:
            http.base_url = http.base_url.join("/models/echo")
            said = final(http, submit(http, {"fail": "boom"}, inference_retry_config=retry))
            (error,) = said["errors"]
            assert list(error) == ["code", "message"], "a strict client knows these two"
            assert error["code"] == "MODEL_PREDICT_ERROR"
            lines = error["message"].splitlines()
            gone = http.get(f"/async_request/{said['request_id']}/result").json()["error"]
            if told:
                assert lines[0] == "RuntimeError: boom"
                assert re.fullmatch(r'  File "model/model.py", line \d+, in predict', lines[1])
                assert "raise RuntimeError(how)" in lines[-1]
                assert "RuntimeError: boom" in gone
            else:
                assert lines == ["Internal Server Error (in model/chainlet)."]
                assert "boom" not in gone
            sync = http.post("/production/predict", json={"fail": "boom"})
            assert sync.json() == {"error": "Internal Server Error (in model/chainlet)."}
            assert "boom" not in sync.text + repr(sync.headers)


def test_an_unknown_field_is_told_in_the_answer(echo: httpx.Client) -> None:
    wrong = {"model_input": 1, "prioritty": 2}
    told = "is unknown and was ignored. Did you mean priority?"
    answer = echo.post("/production/async_predict", json=wrong)
    assert (answer.status_code, list(answer.json())) == (201, ["request_id", "warnings"])
    assert answer.json()["warnings"] == [f"The field prioritty {told}"]
    assert (
        AsyncPredictOutput.model_validate_json(answer.content).request_id
        == answer.json()["request_id"]
    )
    chain = echo.post("/production/async_run_remote", json=wrong)
    assert chain.json()["warnings"] == [f"The field prioritty {told}"]
    bare = echo.post("/production/async_run_remote", json={"prioritty": 2})
    assert list(bare.json()) == ["request_id"], "those are a chain's own arguments"
    many = echo.post("/production/async_predict_batch", json=[{"model_input": 1}, wrong])
    assert many.json()["warnings"] == [f"The field [1].prioritty {told}"]
    assert len(many.json()["request_ids"]) == 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32-be"])
def test_an_input_in_another_encoding_runs_as_on_the_sync_path(
    echo: httpx.Client, encoding: str
) -> None:
    text = '{"model_input": {"name": "café"}}'
    answer = echo.post("/production/async_predict", content=text.encode(encoding))
    assert answer.status_code == 201, answer.text
    said = final(echo, answer.json()["request_id"])
    assert echo.get(said["result_url"]).json() == {"name": "café"}
    sync = echo.post("/production/predict", content='{"name": "café"}'.encode(encoding))
    assert sync.json() == {"name": "café"}
    broken = "{".encode(encoding)
    sync, queued = (
        echo.post(f"/production/{a}", content=broken) for a in ("predict", "async_predict")
    )
    assert (sync.status_code, queued.status_code) == (400, 400)
    assert sync.json()["error"] == queued.json()["error"]


def test_cancel_of_a_running_request_stops_it_and_repeats_say_so(echo: httpx.Client) -> None:
    request_id = submit(echo, LONG)
    until(echo, request_id, "IN_PROGRESS")
    assert echo.get(f"/async_request/{request_id}/result").status_code == 409
    assert echo.patch(f"/async_request/{request_id}", json={"priority": 2}).status_code == 409
    said = echo.delete(f"/async_request/{request_id}").json()
    assert (said["request_id"], said["canceled"]) == (request_id, True)
    again = echo.delete(f"/async_request/{request_id}").json()
    assert (again["canceled"], "already canceled" in again["message"]) == (False, True)
    wait_until(lambda: echo.get(f"/async_request/{request_id}").json()["stopped_at"], 10)
    status = echo.get(f"/async_request/{request_id}").json()
    assert (status["status"], status["stopped_by"]) == ("CANCELED", "cooperative")


def test_cancel_of_a_finished_request_changes_nothing(echo: httpx.Client) -> None:
    request_id = submit(echo, 1)
    final(echo, request_id)
    said = echo.delete(f"/async_request/{request_id}").json()
    assert (said["canceled"], said["message"]) == (False, "The request is already SUCCEEDED.")


@pytest.fixture
def busy(echo: httpx.Client) -> Any:
    """All slots of the echo model taken by requests that a test does not care for."""
    taken = [submit(echo, LONG, priority=0) for _ in range(8)]
    for request_id in taken:
        until(echo, request_id, "IN_PROGRESS")
    yield
    for request_id in taken:
        echo.delete(f"/async_request/{request_id}")
    for request_id in taken:
        wait_until(
            lambda request_id=request_id: echo.get(f"/async_request/{request_id}").json()[
                "stopped_at"
            ],
            20,
        )


def test_a_queued_request_knows_its_place_and_can_be_moved(echo: httpx.Client, busy: None) -> None:
    ids = [submit(echo, n, priority=2) for n in range(3)]
    status = echo.get(f"/async_request/{ids[2]}").json()
    assert (status["status"], status["queue_position"], status["waiting_for"]) == (
        "QUEUED",
        2,
        "slot",
    )
    moved = echo.patch(f"/async_request/{ids[2]}", json={"priority": 0}).json()
    assert (moved["priority"], moved["queue_position"]) == (0, 0)
    counts = echo.get("/production/async_queue_status").json()
    assert (counts["num_queued_requests"], counts["num_in_progress_requests"]) == (3, 8)
    assert set(counts) == {
        "model_id",
        "deployment_id",
        "num_queued_requests",
        "num_in_progress_requests",
    }
    for request_id in ids:
        assert echo.delete(f"/async_request/{request_id}").json()["canceled"] is True


def test_prefer_wait_is_a_long_poll(echo: httpx.Client) -> None:
    request_id = submit(echo, {"delay": 0.3})
    said = echo.get(
        f"/async_request/{request_id}", headers={"Prefer": "respond-async, wait=20"}
    ).json()
    assert said["status"] == "SUCCEEDED"
    assert echo.get(f"/async_request/{request_id}?wait=61").status_code == 400


def test_one_idempotency_key_is_one_request(echo: httpx.Client) -> None:
    body, headers = {"model_input": 5}, {"Idempotency-Key": "once"}
    first = echo.post("/production/async_predict", json=body, headers=headers)
    again = echo.post("/production/async_predict", json=body, headers=headers)
    assert first.json() == again.json()
    assert (again.status_code, again.headers["x-baseten-request-id"]) == (
        201,
        again.json()["request_id"],
    )
    other = echo.post("/production/async_predict", json={"model_input": 6}, headers=headers)
    assert other.status_code == 409


def test_a_batch_is_all_or_nothing(echo: httpx.Client) -> None:
    bodies = [{"model_input": n, "priority": n % 3} for n in range(5)]
    ids = echo.post("/production/async_predict_batch", json=bodies).json()["request_ids"]
    assert [final(echo, request_id)["status"] for request_id in ids] == ["SUCCEEDED"] * 5
    assert [echo.get(f"/async_request/{request_id}/result").json() for request_id in ids] == list(
        range(5)
    )
    before = echo.get("/async_requests").json()["requests"][0]
    assert (
        echo.post("/production/async_predict_batch", json=[*bodies, {"priority": 0}]).status_code
        == 400
    )
    assert echo.post("/production/async_predict_batch", json=[]).status_code == 400
    assert echo.get("/async_requests").json()["requests"][0] == before


def test_own_requests_are_listed_newest_first_in_pages(live: Live) -> None:
    with live.client(
        live.new_key(),
    ) as client:
        client.base_url = httpx.URL(live.url + "/models/echo")
        ids = [submit(client, n) for n in range(5)]
        seen: list[str] = []
        cursor: str | None = "0"
        while cursor is not None:
            page = client.get("/async_requests", params={"limit": 2, "cursor": cursor}).json()
            seen += [row["request_id"] for row in page["requests"]]
            cursor = page["cursor"]
        assert sorted(seen) == sorted(ids)
        assert client.get("/async_requests", params={"model": "talker"}).json()["requests"] == []


def events(
    client: httpx.Client, request_id: str, last_id: str = "", most: int = 1000
) -> list[tuple[str, str, str]]:
    """(id, event, data) of a stream, from after `last_id`, at most so many."""
    seen: list[tuple[str, str, str]] = []
    fields: dict[str, str] = {}
    headers = {"Last-Event-ID": last_id} if last_id else {}
    with client.stream("GET", f"/async_request/{request_id}/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if line:
                fields[name] = fields[name] + "\n" + value if name in fields else value
            elif "event" in fields:
                seen.append((fields["id"], fields["event"], fields["data"]))
                fields = {}
                if len(seen) == most:
                    break
    return seen


def test_the_event_stream_tells_everything_once(live: Live) -> None:
    with live.client() as client:
        client.base_url = httpx.URL(live.url + "/models/talker")
        request_id = submit(client, {"stream": ["a", "b\nc", "d"]})
        seen = events(client, request_id)
        kinds = [kind for _, kind, _ in seen]
        assert kinds == ["status", "status", "output", "output", "output", "status", "done"]
        assert [data for _, kind, data in seen if kind == "output"] == ["a", "b\nc", "d"]
        assert client.get(f"/async_request/{request_id}/result").text == "ab\ncd"
        for cut in range(1, len(seen)):
            assert seen[:cut] + events(client, request_id, seen[cut - 1][0]) == seen
        later = events(client, request_id, "1795981575755-0")  # an id of nothing here
        assert later == seen[-1:]


def test_chunks_that_are_no_longer_kept_are_said_to_have_been(live: Live) -> None:
    with live.client() as client:
        client.base_url = httpx.URL(live.url + "/models/talker")
        request_id = submit(client, {"stream": ["a", "b", "c"]})
        seen = events(client, request_id)
        JobStore(live.settings).redis.delete(
            keys.keyed("events", request_id)
        )  # as it goes by itself
        later = events(client, request_id)
        assert [kind for _, kind, _ in later] == ["status", "status", "truncated", "status", "done"]
        assert json.loads(later[2][2])["message"].endswith("the output is in the result.")
        told = [event for event in seen if event[1] == "status"]
        assert [event for event in later if event[1] == "status"] == told
        assert [kind for _, kind, _ in events(client, request_id, seen[-3][0])] == [
            "status",
            "done",
        ]


def test_a_reader_that_reconnects_misses_and_repeats_nothing(live: Live) -> None:
    gate = live.folder / "gate-events"
    with live.client() as client:
        client.base_url = httpx.URL(live.url + "/models/talker")
        request_id = submit(client, {"stream": ["one", "two", "three"], "gate": str(gate)})
        (live.folder / "gate-events.0").touch()
        first = events(client, request_id, most=3)
        (live.folder / "gate-events.1").touch()
        (live.folder / "gate-events.2").touch()
        rest = events(client, request_id, first[-1][0])
    chunks = [data for _, kind, data in first + rest if kind == "output"]
    assert chunks == ["one", "two", "three"]


def test_wake_is_202(echo: httpx.Client) -> None:
    answer = echo.post("/production/wake")
    assert (answer.status_code, answer.json()) == (202, {})


def test_a_trace_and_the_request_id_reach_the_model(live: Live) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with live.client() as client:
        client.base_url = httpx.URL(live.url + "/models/talker")
        answer = client.post(
            "/production/async_predict", json={"model_input": {}}, headers={"traceparent": trace}
        )
        request_id = answer.json()["request_id"]
        final(client, request_id)
        assert client.get(f"/async_request/{request_id}/result").json() == {
            "id": request_id,
            "trace": trace,
        }
        sync = client.post("/production/predict", json={}, headers={"traceparent": trace})
        assert sync.json() == {"id": sync.headers["x-baseten-request-id"], "trace": trace}


def test_a_request_canceled_in_the_moment_of_its_end_leaves_its_slot_free(
    echo: httpx.Client,
) -> None:
    for _ in range(30):
        echo.delete(f"/async_request/{submit(echo, 1)}")
    counts = "num_in_progress_requests"
    wait_until(lambda: echo.get("/production/async_queue_status").json()[counts] == 0, 5)


def test_a_full_queue_is_429_with_retry_after(live: Live) -> None:
    port = free_port()
    env = variables(live.settings, KINGPOST_MAX_QUEUED="1")
    process = Process(["api", "--port", str(port)], env, live.folder / "small-api.log").start()
    try:
        with live.client() as client:
            client.base_url = httpx.URL(f"http://127.0.0.1:{port}/models/echo")
            wait_until(lambda: _status(client, "/health/live") == 200, 20)
            bodies = [{"model_input": n} for n in range(2)]
            answer = client.post("/production/async_predict_batch", json=bodies)
            assert (answer.status_code, answer.json()["error_code"]) == (429, "rate_limited")
            assert int(answer.headers["retry-after"]) > 0
    finally:
        process.stop()


def _status(client: httpx.Client, path: str) -> int:
    try:
        return client.get(str(client.base_url).split("/models")[0] + path).status_code
    except httpx.HTTPError:
        return 0


def test_a_webhook_that_cannot_be_delivered_shows_in_the_status_and_can_be_sent_again(
    echo: httpx.Client,
) -> None:
    request_id = submit(echo, 1, webhook_endpoint="https://localhost/hook")  # refused by the sender

    def status() -> dict[str, Any]:
        return echo.get(f"/async_request/{request_id}").json()

    wait_until(lambda: status()["webhook_status"] == "FAILED", 20)
    assert status()["status"] == "WEBHOOK_FAILED"
    assert echo.get(f"/async_request/{request_id}/result").json() == 1
    again = echo.post(f"/async_request/{request_id}/webhook/redeliver")
    assert (again.status_code, again.json()["webhook_status"]) == (202, "PENDING")
    wait_until(lambda: status()["webhook_status"] == "FAILED", 20)
    without = submit(echo, 1)
    final(echo, without)
    assert echo.post(f"/async_request/{without}/webhook/redeliver").status_code == 409

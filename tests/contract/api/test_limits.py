"""What an API key may do: calls a minute, unfinished requests, running requests."""

import httpx
import pytest

from tasks.api_keys import Limits
from tests.conditions import wait_until
from tests.contract.api.conftest import Live, submit

TALKER = "/models/talker/production"


def client_with(live: Live, limits: Limits) -> httpx.Client:
    return live.client(live.new_key(limits=limits))


def test_submissions_above_the_rate_are_429_with_the_seconds_to_wait(live: Live) -> None:
    with client_with(live, Limits(submits_per_minute=2)) as client:
        submit(client, 1, "/models/echo/production/async_predict")
        submit(client, 2, "/models/echo/production/async_predict")
        refused = client.post("/models/echo/production/async_predict", json={"model_input": 3})
    assert (refused.status_code, refused.json()["error_code"]) == (429, "rate_limited")
    assert 1 <= int(refused.headers["retry-after"]) <= 30


def test_a_batch_costs_as_much_as_its_requests(live: Live) -> None:
    batch = [{"model_input": n} for n in range(3)]
    with client_with(live, Limits(submits_per_minute=4)) as client:
        answers = [
            client.post("/models/echo/production/async_predict_batch", json=batch).status_code
            for _ in range(2)
        ]
    assert answers == [201, 429]


def test_a_repeated_submission_under_its_idempotency_key_costs_nothing(live: Live) -> None:
    with client_with(live, Limits(submits_per_minute=1)) as client:
        client.headers["Idempotency-Key"] = "once"
        answers = [
            client.post("/models/echo/production/async_predict", json={"model_input": 1})
            for _ in range(3)
        ]
    assert [answer.status_code for answer in answers] == [201, 201, 201]


@pytest.mark.parametrize(
    ("limits", "method", "path"),
    [
        (Limits(status_calls_per_minute=1), "GET", "/async_request/{id}"),
        (Limits(status_calls_per_minute=1), "GET", "/async_request/{id}/result"),
        (Limits(status_calls_per_minute=1), "GET", "/async_request/{id}/events"),
        (Limits(status_calls_per_minute=1), "DELETE", "/async_request/{id}"),
        (
            Limits(queue_status_calls_per_minute=1),
            "GET",
            "/models/echo/production/async_queue_status",
        ),
    ],
)
def test_other_calls_have_rates_of_their_own(
    live: Live, limits: Limits, method: str, path: str
) -> None:
    with client_with(live, limits) as client:
        request_id = submit(client, 1, "/models/echo/production/async_predict")
        url = path.replace("{id}", request_id)
        assert (
            client.request(
                "GET",
                path.replace("{id}", request_id).removesuffix("/result").removesuffix("/events"),
            ).status_code
            == 200
        )
        refused = client.request(method, url)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1


def test_a_key_with_too_much_unfinished_is_refused_until_something_ends(live: Live) -> None:
    gate = live.folder / "gate-unfinished"
    order = {"stream": ["x"], "gate": str(gate)}
    with client_with(live, Limits(max_unfinished=1)) as client:
        request_id = submit(client, order, TALKER + "/async_predict")
        refused = client.post(TALKER + "/async_predict", json={"model_input": {}})
        assert (refused.status_code, "retry-after" in refused.headers) == (429, True)
        assert "unfinished" in refused.json()["error"]
        (live.folder / "gate-unfinished.0").touch()
        assert client.get(f"/async_request/{request_id}?wait=20").json()["status"] == "SUCCEEDED"
        submit(client, {}, TALKER + "/async_predict")


def test_a_key_at_its_running_limit_waits_while_others_run(live: Live, http: httpx.Client) -> None:
    gate = live.folder / "gate-running"
    order = {"stream": ["x"], "gate": str(gate)}
    with client_with(live, Limits(max_running=1)) as client:
        first = submit(client, order, TALKER + "/async_predict")

        def status(request_id: str) -> dict[str, object]:
            return client.get(f"/async_request/{request_id}").json()

        wait_until(lambda: status(first)["status"] == "IN_PROGRESS", 10)
        second = submit(client, {}, TALKER + "/async_predict")
        wait_until(lambda: status(second)["waiting_for"] == "key_limit", 10)
        other = submit(http, {}, TALKER + "/async_predict")  # somebody else's
        assert http.get(f"/async_request/{other}?wait=20").json()["status"] == "SUCCEEDED"
        assert status(second)["status"] == "QUEUED"
        counts = client.get(TALKER + "/async_queue_status").json()
        assert (counts["num_queued_requests"], counts["num_in_progress_requests"]) == (1, 1)
        (live.folder / "gate-running.0").touch()
        assert client.get(f"/async_request/{second}?wait=20").json()["status"] == "SUCCEEDED"

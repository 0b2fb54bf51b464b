"""Responses in the background by OpenAI's unmodified client: queued, retrieved, cancelled."""

from typing import Any

import openai
import pytest

from tests.conditions import wait_until
from tests.contract.api.conftest import KEY, Live


def client(live: Live, key: str = KEY) -> openai.OpenAI:
    return openai.OpenAI(api_key=key, base_url=live.url + "/v1", max_retries=0)


def ended(calls: openai.OpenAI, response: Any) -> Any:
    def status() -> Any:
        return calls.responses.retrieve(response.id).status

    wait_until(lambda: status() not in ("queued", "in_progress"), 30)
    return calls.responses.retrieve(response.id)


def test_a_response_in_the_background_is_a_queued_job(live: Live) -> None:
    calls = client(live)
    response = calls.responses.create(model="talker", input="x", background=True)
    assert response.id.startswith("resp_") and response.background
    assert response.status in ("queued", "in_progress", "completed")
    done = ended(calls, response)
    assert (done.status, done.output_text, done.id) == ("completed", "Hello", response.id)
    with live.client() as http:
        job = http.get(f"/async_request/{response.id.removeprefix('resp_')}").json()
    assert job["status"] == "SUCCEEDED"


def test_one_that_runs_is_cancelled(live: Live) -> None:
    calls = client(live)
    late: Any = {"late": True}
    response = calls.responses.create(model="talker", input="x", background=True, extra_body=late)
    wait_until(lambda: calls.responses.retrieve(response.id).status == "in_progress", 30)
    assert response.model == "talker"
    assert calls.responses.cancel(response.id).status == "cancelled"
    assert calls.responses.cancel(response.id).status == "cancelled"  # as it is


def test_one_that_fails_says_why(live: Live) -> None:
    calls = client(live)
    wrong: Any = {"raise": [422, "too long"]}
    response = calls.responses.create(model="talker", input="x", background=True, extra_body=wrong)
    failed = ended(calls, response)
    assert (failed.status, failed.error.code, failed.error.message) == (
        "failed",
        "MODEL_INVALID_INPUT",
        "too long",
    )


def test_what_cannot_be_in_the_background_and_another_key_s(live: Live) -> None:
    calls = client(live)
    with pytest.raises(openai.BadRequestError) as refused:
        calls.responses.create(model="talker", input="x", background=True, stream=True)
    assert refused.value.param == "stream"
    with pytest.raises(openai.NotFoundError):
        calls.responses.create(model="nobody", input="x", background=True)
    response = calls.responses.create(model="talker", input="x", background=True)
    other = client(live, live.new_key(scope="full"))
    for call in (other.responses.retrieve, other.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            call(response.id)
    with live.client() as http:  # a request of another kind is no response
        asked = http.post("/models/talker/production/async_predict", json={"model_input": {}})
    with pytest.raises(openai.NotFoundError):
        calls.responses.retrieve(asked.json()["request_id"])
    assert calls.responses.create(model="talker", input="x", background=False).id == "r1"

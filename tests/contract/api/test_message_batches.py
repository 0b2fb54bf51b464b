"""Anthropic's message batches by the unmodified client: made, read, listed, cancelled, and their results."""

import json
from typing import Any

import anthropic
import pytest

from tests.conditions import wait_until
from tests.contract.api.conftest import KEY, Live


def client(live: Live, key: str = KEY) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key=key, base_url=live.url, max_retries=0)


def asked(custom_id: str, **more: Any) -> Any:
    messages = [{"role": "user", "content": "Hi"}]
    params = {"model": "talker", "max_tokens": 9, "messages": messages, **more}
    return {"custom_id": custom_id, "params": params}


def ended(calls: anthropic.Anthropic, batch: Any) -> Any:
    def status() -> str:
        return calls.messages.batches.retrieve(batch.id).processing_status

    wait_until(lambda: status() == "ended", 60)
    return calls.messages.batches.retrieve(batch.id)


def counts(batch: Any) -> dict[str, int]:
    return {name: count for name, count in batch.request_counts.model_dump().items() if count}


def results(calls: anthropic.Anthropic, batch: Any) -> dict[str, Any]:
    found = {said.custom_id: said.result for said in calls.messages.batches.results(batch.id)}
    assert len(found) == sum(counts(batch).values())
    return found


def test_a_batch_from_requests_to_results(live: Live) -> None:
    calls = client(live)
    requests = [
        *(asked(f"good-{number}") for number in range(150)),
        asked("raises", **{"raise": [422, "too long"]}),
        asked("nobody", model="nobody"),
        asked("stream", stream=True),
    ]
    batch = calls.messages.batches.create(requests=requests)
    assert batch.id.startswith("msgbatch_") and batch.type == "message_batch"
    assert batch.processing_status == "in_progress" and counts(batch) == {"processing": 153}
    assert batch.results_url is None and batch.ended_at is None
    assert (batch.expires_at - batch.created_at).total_seconds() == 24 * 3600
    batch = ended(calls, batch)
    assert counts(batch) == {"succeeded": 150, "errored": 3}
    assert batch.ended_at and batch.ended_at >= batch.created_at
    found = results(calls, batch)
    good = found["good-149"]
    assert good.type == "succeeded" and good.message.content[0].text == "Hello"
    errors = {name: found[name].error.error for name in ("raises", "nobody", "stream")}
    assert errors["raises"].type == "invalid_request_error"
    assert errors["raises"].message == "too long"
    assert "nobody" in errors["nobody"].message and "stream" in errors["stream"].message


def test_a_batch_that_is_cancelled_says_which_requests_were_not_done(live: Live) -> None:
    calls = client(live)
    requests = [asked("good"), asked("bad", **{"raise": [422, "no"]})]
    requests += [asked(f"late-{number}", late=True) for number in range(120)]
    batch = calls.messages.batches.create(requests=requests)
    with pytest.raises(anthropic.NotFoundError):
        calls.get(f"/v1/messages/batches/{batch.id}/results", cast_to=object)

    def done() -> bool:
        told: Any = live.client().get(f"/v1/batches/{batch.id.replace('msgbatch', 'batch')}")
        return told.json()["in_progress_at"] is not None

    wait_until(done, 30)
    told = calls.messages.batches.cancel(batch.id)
    assert told.processing_status == "canceling" and told.cancel_initiated_at
    batch = ended(calls, batch)
    found = results(calls, batch)
    assert counts(batch)["canceled"] >= 120 and sum(counts(batch).values()) == 122
    assert found["late-119"].type == "canceled"
    with pytest.raises(anthropic.ConflictError):
        calls.messages.batches.cancel(batch.id)


def test_batches_are_listed_in_pages_for_their_key_alone(live: Live) -> None:
    calls = client(live, live.new_key(scope="inference"))
    made = [calls.messages.batches.create(requests=[asked("a")]).id for _ in range(3)]
    assert [batch.id for batch in calls.messages.batches.list(limit=2)] == made[::-1]
    first = calls.messages.batches.list(limit=2)
    assert first.has_more and (first.first_id, first.last_id) == (made[2], made[1])
    other = client(live)
    for call in (other.messages.batches.retrieve, other.messages.batches.cancel):
        with pytest.raises(anthropic.NotFoundError) as refused:
            call(made[0])
        assert refused.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]


def test_what_is_no_list_of_requests_is_refused_in_anthropic_s_words(live: Live) -> None:
    calls = client(live)
    for requests in ([], [asked("a"), asked("a")], [asked("no spaces")]):
        with pytest.raises(anthropic.BadRequestError) as refused:
            calls.messages.batches.create(requests=requests)
        said: Any = refused.value.body
        assert said["error"]["type"] == "invalid_request_error" and refused.value.request_id
    with live.client() as http:
        answer = http.post("/v1/messages/batches", content=b"{")
    assert answer.status_code == 400 and json.loads(answer.text)["type"] == "error"

"""Responses in the background by OpenAI's unmodified client: queued, streamed, retrieved, cancelled; of models that only chat, too."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import redis

from tasks.store import keys
from tests.conditions import wait_until
from tests.contract.api.conftest import KEY, Live, own_replica

CHATTER = """
import json, os, time

class Model:
    def chat_completions(self, body: dict):
        words = [f"{len(body['messages'])} messages, ", body["messages"][-1]["content"]]
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        about = {"id": "c", "created": 1, "model": body["model"]}
        if body.get("stream"):
            return self.streamed(about, words, usage, body)
        call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        message = {"role": "assistant", "content": "".join(words), "tool_calls": [call] if body.get("tools") else None}
        return {**about, "object": "chat.completion", "usage": usage,
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}

    def streamed(self, about, words, usage, body):
        for word in words:
            yield "data: " + json.dumps({**about, "choices": [{"index": 0, "delta": {"content": word}}]}) + "\\n\\n"
            while "/" in words[-1] and not os.path.exists(words[-1]):
                time.sleep(0.01)
        yield "data: " + json.dumps({**about, "choices": [], "usage": usage}) + "\\n\\ndata: [DONE]\\n\\n"
"""


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


def test_the_events_of_a_response_are_read_again_from_any_of_them(live: Live) -> None:
    calls = client(live)
    told = list(calls.responses.create(model="talker", input="x", background=True, stream=True))
    assert [event.type for event in told] == [
        "response.created",
        "response.in_progress",
        "response.output_text.delta",
        "response.completed",
    ]
    assert [event.sequence_number for event in told] == [0, 1, 2, 3]
    begun: Any = told[0]
    done: Any = told[-1]
    assert begun.response.status == "queued" and begun.response.background
    assert (done.response.output_text, done.response.id) == ("Hello", begun.response.id)
    for after in (0, 2):
        again = calls.responses.retrieve(begun.response.id, stream=True, starting_after=after)
        assert list(again) == told[after + 1 :]
    assert calls.responses.retrieve(begun.response.id).output_text == "Hello"
    job = begun.response.id.removeprefix("resp_")
    with redis.Redis.from_url(live.settings.redis_url) as store:  # as their time does it
        assert store.delete(keys.keyed("events", job))
    again = calls.responses.retrieve(begun.response.id, stream=True, starting_after=1)
    assert list(again) == told[2:]


def test_the_stream_of_one_that_fails_or_is_cancelled_says_so(live: Live) -> None:
    calls = client(live)
    wrong: Any = {"raise": [422, "too long"]}
    *_, failed = calls.responses.create(
        model="talker", input="x", background=True, stream=True, extra_body=wrong
    )
    assert failed.type == "response.failed" and failed.response.error
    assert failed.response.error.message == "too long"
    late: Any = {"late": True}
    stream = calls.responses.create(
        model="talker", input="x", background=True, stream=True, extra_body=late
    )
    begun: Any = next(iter(stream))
    calls.responses.cancel(begun.response.id)
    *_, last = stream
    assert last.type == "response.incomplete" and last.response.status == "cancelled"


@pytest.fixture(scope="module")
def chatter(live: Live) -> Iterator[None]:
    """A replica of a model that has `chat_completions` alone."""
    folder = live.folder / "chatter"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model.py").write_text(CHATTER)
    (folder / "config.yaml").write_text(json.dumps({"model_name": "chatter"}))
    with own_replica(live, folder):
        yield


@pytest.mark.stack
def test_a_model_that_only_chats_answers_responses(live: Live, chatter: None) -> None:
    calls = client(live)
    asked: Any = [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]
    tools: Any = [{"type": "function", "name": "f", "parameters": {}}]
    response = calls.responses.create(
        model="chatter", input=asked, instructions="be brief", tools=tools, background=True
    )
    done: Any = ended(calls, response)
    assert (done.status, done.model, done.output_text) == ("completed", "chatter", "2 messages, hi")
    assert (done.output[1].type, done.output[1].call_id) == ("function_call", "call_1")
    assert (done.usage.input_tokens, done.usage.total_tokens) == (3, 5)
    with pytest.raises(openai.BadRequestError) as refused:
        calls.responses.create(
            model="chatter", input="x", tools=[{"type": "web_search"}], background=True
        )
    assert refused.value.param == "tools"


@pytest.mark.stack
def test_a_chat_streams_as_a_response_while_it_is_made(
    live: Live, chatter: None, tmp_path: Path
) -> None:
    calls, gate = client(live), tmp_path / "gate"
    stream = calls.responses.create(model="chatter", input=str(gate), background=True, stream=True)
    told: list[Any] = []
    for event in stream:
        told.append(event)
        if event.type == "response.output_text.delta":
            gate.touch()  # the model waits for it: the event came while the model ran
    assert [event.type.removeprefix("response.") for event in told] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    text = f"1 messages, {gate}"
    assert told[-4].text == text == told[-1].response.output_text
    assert told[-1].response.usage.total_tokens == 5
    again = calls.responses.retrieve(told[0].response.id, stream=True, starting_after=4)
    assert list(again) == told[5:]
    assert calls.responses.retrieve(told[0].response.id).output_text == text


def test_a_model_without_either_method_is_refused_at_once(live: Live) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client(live).responses.create(model="echo", input="x", background=True)
    said = "The model echo answers no responses: its model.py has neither responses nor chat_completions."
    assert refused.value.param == "model" and said in refused.value.message


def test_what_cannot_be_in_the_background_and_another_key_s(live: Live) -> None:
    calls = client(live)
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

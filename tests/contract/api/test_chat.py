"""models/extra/chat, with its real weights, behind the API: what OpenAI's client gets from it."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from deployments.registry import verbs as registry
from tasks.store.job_store import JobStore
from tests.conditions import wait_until
from tests.contract.api.conftest import KEY, Live, own_replica
from tests.contract.api.examples import unpacked

PARIS: Any = [{"role": "user", "content": "What is the capital of France?"}]
LONG: Any = [{"role": "user", "content": "Tell me a very long story about the sea."}]

pytestmark = [pytest.mark.slow, pytest.mark.stack]  # 269 MB of weights, kept under build/


@pytest.fixture(scope="module")
def client(live: Live) -> Iterator[openai.OpenAI]:
    folder, weights = unpacked(live, "chat")
    config = folder / "config.yaml"  # any path: that of the setting
    config.write_text(config.read_text().replace("CHAT_WEIGHTS: data/chat", f"CHAT_WEIGHTS: {weights}"))  # fmt: skip
    with own_replica(live, folder, 300):
        yield openai.OpenAI(api_key=KEY, base_url=live.url + "/v1", max_retries=0, timeout=120)


def running(live: Live) -> int:
    """Calls in the model's host."""
    deployment = live.deployment("chat").id
    return sum(
        replica.busy
        for replica in JobStore(live.settings).run(registry.replicas())
        if replica.deployment_id == deployment
    )


def test_it_knows_a_capital_and_counts_its_tokens(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="chat", messages=PARIS, temperature=0)
    choice, usage = answer.choices[0], answer.usage
    assert "Paris" in (choice.message.content or "") and choice.finish_reason == "stop"
    assert usage and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens > 8 and usage.completion_tokens > 4


def test_a_stream_says_the_same_in_pieces(client: openai.OpenAI) -> None:
    how: Any = {"model": "chat", "messages": PARIS, "temperature": 0}
    whole = client.chat.completions.create(**how)
    chunks = list(
        client.chat.completions.create(**how, stream=True, stream_options={"include_usage": True})
    )
    text = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(text) == whole.choices[0].message.content
    assert len([piece for piece in text if piece]) >= 5
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage == whole.usage


def test_stop_sequences_bounds_and_seeds(client: openai.OpenAI) -> None:
    def said(**how: Any) -> Any:
        return client.chat.completions.create(model="chat", messages=PARIS, **how).choices[0]

    stopped = said(temperature=0, stop=[" Paris"])
    assert (stopped.message.content, stopped.finish_reason) == ("The capital of France is", "stop")
    cut = said(temperature=0, max_tokens=3)
    assert (cut.message.content, cut.finish_reason) == ("The capital of", "length")
    how: Any = {"temperature": 1.5, "max_tokens": 16}
    contents = [said(**how, seed=seed).message.content for seed in (1, 1, 2, 3)]
    assert contents[0] == contents[1] and len(set(contents)) > 1


def test_a_chat_longer_than_the_context_is_refused_with_openai_s_code(
    client: openai.OpenAI,
) -> None:
    messages: Any = [{"role": "user", "content": "word " * 9000}]
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="chat", messages=messages)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "messages")
    tools: Any = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="chat", messages=PARIS, tools=tools)
    assert refused.value.param == "tools"


def test_a_reader_who_leaves_and_a_job_that_is_cancelled_end_after_a_token(
    live: Live, client: openai.OpenAI
) -> None:
    pid = live.host_pid("chat")
    stream = client.chat.completions.create(
        model="chat", messages=LONG, stream=True, max_tokens=2000
    )
    assert next(iter(stream))
    wait_until(lambda: running(live) == 1, 60)
    stream.close()
    wait_until(lambda: running(live) == 0, 60)
    with live.client() as http:
        body = {"model_input": {"messages": LONG, "max_tokens": 2000}}
        job = http.post("/models/chat/production/async_predict", json=body).json()["request_id"]
        wait_until(lambda: http.get(f"/async_request/{job}").json()["status"] == "IN_PROGRESS", 60)
        assert http.delete(f"/async_request/{job}").is_success
        wait_until(lambda: http.get(f"/async_request/{job}").json().get("stopped_at"), 60)
        assert http.get(f"/async_request/{job}").json()["stopped_by"] == "cooperative"
    assert live.host_pid("chat") == pid  # nothing was killed

"""The official clients against a live stack: Baseten's own, OpenAI's, Anthropic's, and those that build on them."""

import inspect
from typing import Any

import anthropic
import httpx
import openai
import pytest
from baseten.client.inferenceapi import _client as inference
from baseten.client.inferenceapi import _models as models
from baseten_performance_client import PerformanceClient
from langchain_baseten import ChatBaseten

from tests.conditions import wait_until
from tests.contract.api.conftest import KEY, Live

OPERATIONS = sorted(
    name
    for name, _ in inspect.getmembers(inference.ApiClient, inspect.isfunction)
    if not name.startswith("_")
)
INPUT = {"hello": "wörld"}


def arguments(operation: str, live: Live, request_id: str) -> dict[str, Any]:
    """What to call the operation with, from its own signature."""
    given: dict[str, Any] = {}
    for name in inspect.signature(getattr(inference.ApiClient, operation)).parameters:
        match name:
            case "env_name":
                given[name] = "production"
            case "deployment_id":
                given[name] = live.deployment("echo").id
            case "request_id":
                given[name] = request_id
            case "request":
                given[name] = body_for(operation)
            case "accept":
                given[name] = "application/json"
    return given


def body_for(operation: str) -> Any:
    if operation.startswith("async_predict"):
        return models.AsyncPredictRequest(model_input=INPUT)
    if operation.startswith("async_run_remote"):
        return models.AsyncRunRemoteInput(INPUT)
    kind = models.RunRemoteInput if "run_remote" in operation else models.PredictInput
    return kind(INPUT)


def address(operation: str, live: Live) -> dict[str, Any]:
    """Regional operations name the environment in the host, the others the model in the path."""
    headers = {"Authorization": f"Api-Key {KEY}"}
    if "regional" in operation:
        host = f"model-{live.deployment('echo').model_id}-production.api.kingpost.test"
        return {"base_url": live.url, "headers": headers | {"Host": host}}
    return {"base_url": live.url + "/models/echo", "headers": headers}


def check(operation: str, answer: Any) -> None:
    if answer is None or isinstance(answer, httpx.Response):
        assert answer is None or answer.json() == INPUT
    elif operation.startswith(("predict", "run_remote")):
        assert answer.root == INPUT
    elif "queue_status" in operation:
        assert answer.num_queued_requests >= 0
    else:
        assert len(answer.request_id) == 32


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_of_baseten_s_client(live: Live, operation: str) -> None:
    with httpx.Client(timeout=30) as http:
        client = inference.ApiClient(http, **address(operation, live))
        queued = inference.ApiClient(http, **address("", live)).async_predict_production(
            request=models.AsyncPredictRequest(model_input=INPUT)
        )
        answer = getattr(client, operation)(**arguments(operation, live, queued.request_id))
        if isinstance(answer, httpx.Response):
            answer.read()
        check(operation, answer)


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_every_operation_of_baseten_s_async_client(live: Live, operation: str) -> None:
    async with httpx.AsyncClient(timeout=30) as http:
        client = inference.AsyncApiClient(http, **address(operation, live))
        setup = inference.AsyncApiClient(http, **address("", live))
        queued = await setup.async_predict_production(
            request=models.AsyncPredictRequest(model_input=INPUT)
        )
        answer = await getattr(client, operation)(**arguments(operation, live, queued.request_id))
        if isinstance(answer, httpx.Response):
            await answer.aread()
        check(operation, answer)


def test_baseten_s_client_reads_status_and_errors(live: Live) -> None:
    with httpx.Client(timeout=30) as http:
        client = inference.ApiClient(http, **address("", live))
        asked = models.AsyncPredictRequest(model_input={"fail": 422}, priority=2)
        request_id = client.async_predict_production(request=asked).request_id

        def status() -> Any:
            return client.get_async_request_status(request_id=request_id)

        wait_until(lambda: str(status().status).endswith("FAILED"), 20)
        assert status().errors[0].code.endswith("MODEL_INVALID_INPUT")
        with pytest.raises(inference.ResponseErrorResponse) as refused:
            client.async_predict_development(
                request=models.AsyncPredictRequest.model_construct(model_input=1, priority=7)
            )
        assert refused.value.status_code == 400


@pytest.fixture
def chat(live: Live) -> openai.OpenAI:
    return openai.OpenAI(api_key=KEY, base_url=live.url + "/v1", max_retries=0)


MESSAGES: Any = [{"role": "user", "content": "Hi"}]


def test_openai_chat(chat: openai.OpenAI) -> None:
    answer = chat.chat.completions.create(model="talker", messages=MESSAGES)
    assert answer.choices[0].message.content == "Hello there"
    streamed = chat.chat.completions.create(model="talker", messages=MESSAGES, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == "Hello there"


def test_openai_by_the_model_s_own_address(live: Live) -> None:
    base = live.url + "/models/talker/environments/production/sync/v1"
    client = openai.OpenAI(api_key=KEY, base_url=base, max_retries=0)
    answer = client.chat.completions.create(model="any", messages=MESSAGES)
    assert answer.choices[0].message.content == "Hello there"


def test_openai_completions_embeddings_responses_and_models(chat: openai.OpenAI) -> None:
    assert chat.completions.create(model="talker", prompt="x").choices[0].text == "Hello"
    vectors = chat.embeddings.create(model="talker", input=["a", "bb"], encoding_format="float")
    assert [item.embedding[0] for item in vectors.data] == [1.0, 2.0]
    assert chat.responses.create(model="talker", input="x").output_text == "Hello"
    events = list(chat.responses.create(model="talker", input="x", stream=True))
    assert [event.type for event in events] == ["response.output_text.delta", "response.completed"]
    assert {model.id for model in chat.models.list()} >= {"echo", "talker", "socket"}


def test_openai_gets_a_clear_error_for_an_unknown_model(chat: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        chat.chat.completions.create(model="nobody", messages=MESSAGES)
    assert "nobody" in refused.value.message and refused.value.code == "model_not_found"


@pytest.mark.parametrize("where", ["auth_token", "api_key"])
def test_anthropic_messages(live: Live, where: str) -> None:
    key: Any = {where: KEY}
    client = anthropic.Anthropic(**key, base_url=live.url, max_retries=0)
    asked: Any = {"model": "talker", "max_tokens": 10, "messages": MESSAGES}
    answer = client.messages.create(**asked)
    assert answer.content[0].text == "Hello"  # type: ignore[union-attr]
    with client.messages.stream(**asked) as stream:
        assert "".join(stream.text_stream) == "Hello"


def test_baseten_performance_client(live: Live) -> None:
    base = live.url + "/models/talker/environments/production/sync"
    client = PerformanceClient(base_url=base, api_key=KEY)
    vectors = client.embed(input=["a", "bb", "ccc"], model="talker")
    assert [item.embedding[0] for item in vectors.data] == [1.0, 2.0, 3.0]
    posted = PerformanceClient(base_url=live.url, api_key=KEY).batch_post(
        url_path="/models/echo/production/predict", payloads=[{"n": n} for n in range(8)]
    )
    assert list(posted.data) == [{"n": n} for n in range(8)]


def test_langchain_by_model_url(live: Live) -> None:
    url = live.url + "/models/talker/environments/production/sync/v1"
    chat = ChatBaseten(model="talker", model_url=url, baseten_api_key=KEY)  # type: ignore[call-arg, arg-type]
    assert chat.invoke("Hi").content == "Hello there"

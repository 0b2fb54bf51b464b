"""What Kingpost itself says on /v1 is said as OpenAI and Anthropic say it, and what a model says is passed on once."""

import http.client
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from api.app import create_app
from tasks.errors import KeyFull
from tests.contract.api.conftest import KEY, Live, custom_server
from workers.wire.messages import MODEL_ERROR

MESSAGES: Any = [{"role": "user", "content": "Hi"}]
FIELDS = {"message", "type", "param", "code"}
BARE, OWN = "/v1", "/models/talker/production/sync/v1"
ENGINE = """
import http.server, json, sys

class Engine(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({}, 200)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path.startswith("/v1/audio"):
            return self.answer({"text": body.decode("latin-1"), "type": self.headers["content-type"]}, 200)
        self.answer({"error": {"message": "too long", "type": "invalid_request_error", "param": "messages",
                               "code": "context_length_exceeded"}}, 400)

    def answer(self, said, status):
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("x-request-id", "the engine's own")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Engine).serve_forever()
"""


def client(live: Live, base: str = BARE, key: str = KEY) -> openai.OpenAI:
    return openai.OpenAI(api_key=key, base_url=live.url + base, max_retries=0)


def error_of(refused: Any) -> tuple[int, str | None, str | None, str | None]:
    error = refused.value
    assert set(error.response.json()["error"]) >= FIELDS
    assert error.request_id and len(error.request_id) == 32
    return error.status_code, error.type, error.param, error.code


@pytest.mark.parametrize("base", [BARE, OWN])
def test_a_wrong_key_and_a_key_that_may_not(live: Live, base: str) -> None:
    with pytest.raises(openai.AuthenticationError) as refused:
        client(live, base, "wrong").embeddings.create(model="talker", input="x")
    assert error_of(refused) == (401, "invalid_request_error", None, "invalid_api_key")
    key = live.new_key(scope="metrics")
    with pytest.raises(openai.PermissionDeniedError) as refused:
        client(live, base, key).chat.completions.create(model="talker", messages=MESSAGES)
    assert error_of(refused)[3] == "insufficient_permissions"


def test_a_model_that_nobody_has_and_a_body_without_one(live: Live) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client(live).chat.completions.create(model="nobody", messages=MESSAGES)
    assert error_of(refused) == (404, "invalid_request_error", None, "model_not_found")
    with pytest.raises(openai.BadRequestError) as wrong:
        client(live).chat.completions.create(model="", messages=MESSAGES)
    assert error_of(wrong) == (400, "invalid_request_error", "model", None)
    with pytest.raises(openai.NotFoundError) as refused:
        client(live, "/models/nobody/production/sync/v1").embeddings.create(model="x", input="x")
    assert error_of(refused)[3] == "model_not_found"


@pytest.mark.parametrize("scope", ["inference", "full"])
def test_one_model_by_its_name(live: Live, scope: str) -> None:
    key = live.new_key(scope=scope)
    one_model: Any = client(live, key=key).models.retrieve("talker")
    assert (one_model.object, one_model.owned_by) == ("model", "kingpost")
    named = {"inference": "talker", "full": live.deployment("talker").model_id}
    assert one_model.id == named[scope]  # of the management API, which answers deployers here
    with pytest.raises(openai.NotFoundError):
        client(live, key=key).models.retrieve("org/nobody")
    restricted = live.new_key(scope=scope, models=("echo",))
    with pytest.raises(openai.NotFoundError):
        client(live, key=restricted).models.retrieve("talker")


def test_a_path_and_a_method_that_do_not_exist(live: Live) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client(live).moderations.create(input="x")
    assert error_of(refused) == (404, "invalid_request_error", None, "unknown_url")
    with live.client() as calls:
        answer = calls.get("/v1/embeddings")
        assert answer.status_code == 405 and set(answer.json()["error"]) == FIELDS
        kept = calls.get("/v1/jobs/nothing/input")  # Kingpost's own routes keep Baseten's shape
        assert isinstance(kept.json()["error"], str) and kept.json()["error_code"]


def test_a_body_that_is_too_long(live: Live) -> None:
    calling = http.client.HTTPConnection(live.url.removeprefix("http://"), timeout=30)
    calling.putrequest("POST", "/v1/completions")
    calling.putheader("authorization", f"Bearer {KEY}")
    calling.putheader("content-length", "999999999")
    calling.endheaders()
    answer = calling.getresponse()
    assert answer.status == 413
    assert json.loads(answer.read())["error"]["code"] == "payload_too_large"
    calling.close()


OUTAGES: list[tuple[dict[str, Any], int, str, str | None, str]] = [
    ({"sync_timeout_seconds": 0.05}, 504, "server_error", "timeout", "timeout_error"),
    (
        {"redis_url": "redis://127.0.0.1:1"},
        503,
        "server_error",
        "internal_error",
        "overloaded_error",
    ),
    ({}, 429, "requests", "rate_limit_exceeded", "rate_limit_error"),
]


@pytest.mark.parametrize(("change", "status", "kind", "code", "theirs"), OUTAGES)
def test_too_slow_too_many_and_out_of_order_in_both_shapes(
    live: Live, change: dict[str, Any], status: int, kind: str, code: str, theirs: str
) -> None:
    app = create_app(live.settings.model_copy(update=change))
    if status == 429:
        app.router.routes.insert(0, Route("/v1/{route:path}", _full, methods=["POST"]))
    more: Any = {"messages": MESSAGES, "extra_body": {"late": True}}
    with TestClient(app, raise_server_exceptions=False) as http:
        calls: Any = {"api_key": KEY, "http_client": http, "max_retries": 0}
        chat = openai.OpenAI(**calls, base_url="http://testserver/v1").chat.completions
        with pytest.raises(openai.APIStatusError) as refused:
            chat.create(model="talker", **more)
        claude = anthropic.Anthropic(**calls, base_url="http://testserver").messages
        with pytest.raises(anthropic.APIStatusError) as told:
            claude.create(model="talker", max_tokens=9, **more)
    assert error_of(refused) == (status, kind, None, code)
    said: Any = told.value.response.json()
    assert (told.value.status_code, said["error"]["type"]) == (status, theirs)
    assert ("retry-after" in refused.value.response.headers) == (status != 504)


def _full(request: Request) -> Response:
    raise KeyFull


def test_every_answer_has_the_id_of_its_request(live: Live) -> None:
    with live.client() as calls:
        assert len(calls.get("/v1/models").headers["x-request-id"]) == 32
        answer = calls.post("/v1/embeddings", json={"model": "talker", "input": "x"})
    assert answer.headers["x-request-id"] == answer.headers["x-baseten-request-id"]


@pytest.mark.parametrize("base", [BARE, OWN])
def test_what_a_model_raises_is_wrapped_once(live: Live, base: str) -> None:
    def refused(*raised: object) -> tuple[int, Any]:
        with pytest.raises(openai.APIStatusError) as told:
            client(live, base).chat.completions.create(
                model="talker", messages=MESSAGES, extra_body={"raise": raised}
            )
        assert told.value.response.headers["x-request-id"]
        return told.value.status_code, told.value.response.json()

    plain = {"type": "invalid_request_error", "param": None, "code": None}
    assert refused(422, "no") == (422, {"error": {"message": "no", **plain}})
    own = {"message": "no", "type": "mine", "param": "p", "code": "c"}
    assert refused(418, own) == (418, {"error": own})
    assert refused(418, {"error": own}) == (418, {"error": own})
    status, said = refused(1)  # no status of HTTP: the host's own words
    assert status == 500 and said["error"]["type"] == "server_error"


def test_anthropic_s_errors(live: Live) -> None:
    def asked(key: str = KEY, model: str = "talker", raised: Any = None) -> Any:
        claude = anthropic.Anthropic(api_key=key, base_url=live.url, max_retries=0)
        with pytest.raises(anthropic.APIStatusError) as refused:
            claude.messages.create(
                model=model,
                max_tokens=9,
                messages=MESSAGES,
                extra_body={"raise": raised} if raised else None,
            )
        said: Any = refused.value.response.json()
        assert said["type"] == "error" and refused.value.request_id
        return said["error"]["type"], said["error"]["message"]

    assert asked(key="wrong")[0] == "authentication_error"
    assert asked(model="nobody")[0] == "not_found_error"
    assert asked(raised=[422, "no"]) == ("invalid_request_error", "no")
    own = {"type": "error", "error": {"type": "mine", "message": "no"}}
    assert asked(raised=[400, own]) == ("mine", "no")


def test_a_model_that_raises_in_the_middle_of_a_stream_is_an_error_of_the_client(
    live: Live,
) -> None:
    more: Any = {"messages": MESSAGES, "stream": True, "extra_body": {"break": True}}
    chunks = client(live).chat.completions.create(model="talker", **more)
    assert next(iter(chunks)).choices[0].delta.content == "Hello"
    with pytest.raises(openai.APIError) as broken:
        list(chunks)
    assert broken.value.message == MODEL_ERROR and broken.value.type == "server_error"
    claude = anthropic.Anthropic(api_key=KEY, base_url=live.url, max_retries=0)
    with pytest.raises(anthropic.APIStatusError) as refused:
        list(claude.messages.create(model="talker", max_tokens=9, **more))
    said: Any = refused.value.body
    assert said["error"] == {"type": "api_error", "message": MODEL_ERROR}


@pytest.fixture(scope="module")
def engine(live: Live) -> Iterator[None]:
    with custom_server(live, "engine", ENGINE, "/v1/chat/completions"):
        yield


def test_an_engine_s_own_error_passes_as_it_is(live: Live, engine: None) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client(live).chat.completions.create(model="engine", messages=MESSAGES)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "messages")
    assert refused.value.request_id == "the engine's own"


def test_a_form_reaches_the_model_that_its_field_names(live: Live, engine: None) -> None:
    sound = bytes(range(256)) + b"\r\n--not the boundary"
    answer: Any = client(live).audio.transcriptions.create(
        model="engine", file=("a.wav", sound, "audio/wav"), language="en"
    )
    assert sound.decode("latin-1") in answer.text and 'name="language"' in answer.text
    with pytest.raises(openai.NotFoundError) as refused:
        client(live).audio.transcriptions.create(model="nobody", file=("a.wav", sound))
    assert error_of(refused)[3] == "model_not_found"
    with live.client() as calls:
        kind = {"content-type": "multipart/form-data; boundary=xyz"}
        answer = calls.post("/v1/audio/transcriptions", content=b"nothing", headers=kind)
        assert answer.status_code == 400 and "Invalid form" in answer.json()["error"]["message"]

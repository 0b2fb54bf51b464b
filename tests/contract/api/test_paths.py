"""What a caller hears at the edges: unknown paths, the root, health, browsers, other clients' keys and hosts."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from tests.contract.api.conftest import KEY, Live


@pytest.mark.parametrize(
    ("path", "guess"),
    [
        ("/models/echo/prod/predict", "Did you mean the target production?"),
        ("/models/echo/environment/qa/predict", "Did you mean the target environments?"),
        ("/models/echo/production/predit", "Did you mean the action predict?"),
        ("/production/async-predict", "Did you mean the action async_predict?"),
        ("/models/echo", ""),
        ("/models", ""),
        ("/v2/nothing", ""),
    ],
)
def test_an_unknown_path_is_answered_with_what_exists(live: Live, path: str, guess: str) -> None:
    with live.client(None) as http:
        answer = http.post(path, json={})
    said = answer.json()
    assert (answer.status_code, said["error_code"]) == (404, "client_error")
    assert guess in said["error"]
    for part in (
        "There is no path /",
        "production",
        "environments/{name}",
        "async_predict",
        "/openapi.json",
    ):
        assert part in said["error"]
    assert "talker" not in said["error"], "it names no models"


def test_the_root_says_where_to_read_on(live: Live) -> None:
    with live.client(None) as http:
        said = http.get("/")
        assert said.json()["docs"] == "/docs"
        assert http.head("/").status_code == 200
        wrong = http.put("/production/predict")
        assert wrong.json()["error"] == "This path takes POST, not PUT."


def test_a_key_that_is_restricted_hears_of_no_other_model(live: Live) -> None:
    with live.client(live.new_key(models=("echo",))) as http:
        unsaid = http.post("/production/predict", json=1)
        assert unsaid.status_code == 404
        assert "echo" in unsaid.json()["error"] and "talker" not in unsaid.json()["error"]
        there, nowhere = (
            http.post(f"/models/{name}/production/predict", json=1) for name in ("talker", "nobody")
        )
        assert (there.status_code, there.json()) == (nowhere.status_code, nowhere.json())
        assert there.status_code == 403
        listed = http.get("/v1/models")
        assert [model["id"] for model in listed.json()["data"]] == ["echo"]
        assert "talker" not in listed.text
        assert http.post("/v1/embeddings", content=b'{"model": "\\udce9"}').status_code == 403


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
def test_health_answers_get_and_head_without_a_key(live: Live, path: str) -> None:
    with live.client(None) as http:
        got, head = http.get(path), http.head(path)
        assert (got.status_code, head.status_code, head.content) == (200, 200, b"")
        assert got.headers["content-length"] == head.headers["content-length"]


@pytest.mark.parametrize("host", ["model-gateway.example.com", "model-nobody1-staging.example.com"])
def test_a_host_that_names_no_model_hides_no_path(live: Live, host: str) -> None:
    with live.client(None) as http:
        http.headers.update({"host": host, "authorization": f"Api-Key {KEY}"})
        assert http.post("/models/echo/production/predict", json=1).json() == 1
        assert http.get("/v1/models").status_code == 200
        body = {"model": "talker", "input": "abc"}
        assert http.post("/v1/embeddings", json=body).json()["object"] == "list"
        assert http.get("/health/ready").status_code == 200
        assert http.get("/async_requests").status_code == 200
        unknown = http.post("/production/predict", json=1)
        assert (unknown.status_code, unknown.json()["error_code"]) == (404, "model_does_not_exist")


def test_a_path_that_names_a_model_wins_over_the_host(live: Live) -> None:
    talker = live.deployment("talker").model_id
    with live.client() as http:
        for host in (f"model-{talker}.example.com", f"model-{talker}-production.example.com"):
            http.headers["host"] = host
            assert http.post("/models/echo/production/predict", json=1).json() == 1


def test_anthropic_s_header_is_a_key_on_v1_routes_alone(live: Live) -> None:
    body = {"model": "talker", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    with live.client(None) as http:
        http.headers["x-api-key"] = KEY
        assert http.get("/v1/models").status_code == 200
        assert http.post("/v1/messages", json=body).status_code == 200
        own = "/models/talker/production/sync/v1/messages"
        assert http.post(own, json=body).status_code == 200
        assert http.post("/models/echo/production/predict", json=1).status_code == 401
        assert http.get("/v1/models", headers={"x-api-key": "wrong"}).status_code == 401
        both = {"authorization": f"Bearer {KEY}", "x-api-key": "not-needed"}
        assert http.get("/v1/models", headers=both).status_code == 200


@pytest.fixture
def browsers(live: Live) -> Iterator[TestClient]:
    """An app for pages of one origin."""
    settings = live.settings.model_copy(
        update={"cors_origins": "https://a.example, https://b.example"}
    )
    with TestClient(create_app(settings)) as http:
        yield http


def test_pages_of_a_named_origin_may_call_and_others_may_not(browsers: TestClient) -> None:
    asks = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    for path in (
        "/models/echo/production/predict",
        "/models/echo/production/sync/v1/x",
        "/v1/models",
    ):
        allowed = browsers.options(path, headers={"origin": "https://b.example", **asks})
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://b.example"
        assert "authorization" in allowed.headers["access-control-allow-headers"]
        refused = browsers.options(path, headers={"origin": "https://evil.example", **asks})
        assert refused.status_code == 400
        assert "access-control-allow-origin" not in refused.headers
    # What the fast lane answers carries the header, too, and a refusal as well: pages must read it.
    for path in ("/async_request/none", "/models/echo/production/async_queue_status"):
        answer = browsers.get(path, headers={"origin": "https://a.example"})
        assert (answer.status_code, "error" in answer.json()) == (401, True)
        assert answer.headers["access-control-allow-origin"] == "https://a.example"
        assert "access-control-allow-credentials" not in answer.headers


def test_without_the_setting_no_page_may_call(live: Live) -> None:
    with live.client() as http:
        http.headers["origin"] = "https://a.example"
        answer = http.get("/v1/models")
        assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (200, False)

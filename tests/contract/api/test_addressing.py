"""Every way to say which model and which deployment."""

import httpx
import pytest

from tests.contract.api.conftest import Live

INPUT = {"x": 1}


@pytest.fixture
def targets(live: Live) -> list[str]:
    deployment = live.deployment("echo").id
    return ["production", "development", "environments/production", f"deployment/{deployment}"]


def test_by_name_and_by_id_in_the_path(live: Live, http: httpx.Client, targets: list[str]) -> None:
    for reference in ("echo", live.deployment("echo").model_id):
        for target in targets:
            answer = http.post(f"/models/{reference}/{target}/predict", json=INPUT)
            assert (answer.status_code, answer.json()) == (200, INPUT)


def test_by_the_host_header(live: Live, http: httpx.Client, targets: list[str]) -> None:
    for kind in ("model", "chain"):
        host = {"Host": f"{kind}-{live.deployment('echo').model_id}.api.example.com"}
        for target in targets:
            assert http.post(f"/{target}/predict", json=INPUT, headers=host).json() == INPUT


def test_a_regional_host_takes_bare_paths_only(live: Live, http: httpx.Client) -> None:
    host = {"Host": f"model-{live.deployment('echo').model_id}-production.api.example.com"}
    assert http.post("/predict", json=INPUT, headers=host).json() == INPUT
    assert http.post("/async_predict", json={"model_input": 1}, headers=host).status_code == 201
    assert http.get("/async_queue_status", headers=host).status_code == 200
    assert http.post("/wake", headers=host).status_code == 202
    for path in ("/production/predict", "/development/predict", "/environments/production/predict"):
        assert http.post(path, json=INPUT, headers=host).status_code == 400


def test_an_unknown_environment_of_a_regional_host_is_404(live: Live, http: httpx.Client) -> None:
    host = {"Host": f"model-{live.deployment('echo').model_id}-no-such-env.api.example.com"}
    answer = http.post("/predict", json=INPUT, headers=host)
    assert (answer.status_code, answer.json()["error_code"]) == (404, "model_does_not_exist")


@pytest.mark.parametrize(
    "path",
    ["/production/predict", "/models/nobody/production/predict", "/models/echo/deployment/zzzzzzzz/predict",
     "/models/echo/environments/nowhere/predict"],
)  # fmt: skip
def test_what_does_not_exist_is_404_and_says_what(http: httpx.Client, path: str) -> None:
    answer = http.post(path, json=INPUT)
    assert (answer.status_code, answer.json()["error_code"]) == (404, "model_does_not_exist")


def test_a_deployment_of_another_model_is_404(live: Live, http: httpx.Client) -> None:
    other = live.deployment("talker").id
    assert http.post(f"/models/echo/deployment/{other}/predict", json=INPUT).status_code == 404


def test_chains_take_the_envelope_or_bare_arguments(http: httpx.Client) -> None:
    assert http.post("/chains/echo/production/run_remote", json=INPUT).json() == INPUT
    for body in (INPUT, {"model_input": INPUT, "priority": 1}):
        answer = http.post("/chains/echo/production/async_run_remote", json=body)
        request_id = answer.json()["request_id"]
        assert answer.status_code == 201
        assert http.get(f"/async_request/{request_id}?wait=20").json()["status"] == "SUCCEEDED"
        assert http.get(f"/async_request/{request_id}/result").json() == INPUT


def test_a_model_s_host_serves_its_v1_routes(live: Live, http: httpx.Client) -> None:
    host = {"Host": f"model-{live.deployment('talker').model_id}.api.example.com"}
    answer = http.post("/v1/embeddings", json={"model": "any", "input": "abc"}, headers=host)
    assert answer.json()["data"][0]["embedding"][0] == 3.0


def test_sync_routes_keep_method_and_query(http: httpx.Client) -> None:
    answer = http.get("/models/echo/production/sync/v1/models/model", params={"a": "b c"})
    assert (answer.status_code, answer.json()) == (200, {})
    assert http.get("/models/echo/production/sync/").json() is True
    missing = http.delete("/models/echo/production/sync/no/such?x=1")
    assert (missing.status_code, missing.json()) == (404, {"detail": "Not Found"})

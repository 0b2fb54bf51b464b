"""Our OpenAPI document against the live API: what it says is what happens."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from baseten.client.inferenceapi import _models as baseten
from pydantic import BaseModel

from tasks.state import ErrorCode, Status, WebhookStatus
from tests.contract.api.conftest import ROOT, Live
from tests.effort import repeated

PHASES = repeated("examples,fuzzing", "examples,coverage,fuzzing")


def test_schemathesis_finds_nothing(live: Live, tmp_path: Path) -> None:
    """All checks of every operation; `make test-all` also tries all bounds of every field. `--max-examples 250` on a quiet machine makes 12,000 cases."""
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", live.url + "/openapi.json"]
    key = live.new_key(scope="admin")  # the only one that every route answers
    command += [
        "-H",
        f"Authorization: Api-Key {key}",
        "--max-examples",
        "3",
        "--checks",
        "all",
    ]
    command += ["--phases", PHASES, "--seed", "1"]
    for left_out in ("/v1/logs/events", "/v1/webhooks/listen", "/v1/webhooks/test"):
        command += ["--exclude-path", left_out]  # streams without an end, and calls of the outside
    # The same operations as without a name. These reach models, whose own errors are no findings.
    command += ["--exclude-path-regex", "^/(models|chains)/"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    failures = result.stdout.partition("= FAILURES =")[2] or result.stdout
    assert result.returncode == 0, failures[:4000]
    assert " passed" in result.stdout


# 410 is what the result of a failed request answers, and 413 what is above a limit of the settings, which the document does not
# know. Schemathesis does not expect them of its own accord.
# A model whose replica has left is waited for, and then answers 503.
CONFIG = """
request-timeout = 40.0

[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503]
positive_data_acceptance.expected-statuses = ["2xx", "3xx", 401, 403, 404, 409, 410, 413, 429, "5xx"]
"""
# Baseten's inference API 1.0.0, as its OpenAPI document states it: method, success, error codes.
BASETEN = {
    "async_predict": ("post", 201, {400, 401, 413, 429, 503}),
    "async_queue_status": ("get", 200, {401, 429}),
    "async_run_remote": ("post", 201, {400, 401, 429, 503}),
    "predict": ("post", 200, {400, 401, 429, 502, 503, 504}),
    "run_remote": ("post", 200, {400, 401, 429, 502, 503, 504}),
    "wake": ("post", 202, {401}),
}
TARGETS = (
    "/production", "/development", "/environments/{environment}", "/deployment/{deployment_id}"
)  # fmt: skip
# Baseten's generated model -> ours
MODELS: dict[type[BaseModel], str] = {
    baseten.InferenceRetryConfig: "RetryConfig",
    baseten.AsyncPredictRequest: "AsyncPredictRequest",
    baseten.AsyncPredictOutput: "AsyncPredictResponse",
    baseten.AsyncRequestError: "AsyncError",
    baseten.AsyncRequestStatusResponse: "RequestStatus",
    baseten.CancelAsyncRequestOutput: "CancelResponse",
    baseten.GetAsyncQueueStatusOutput: "QueueStatusResponse",
    baseten.ErrorResponse: "ErrorResponse",
}
# Where ours differs, on purpose: any JSON as input, and our own pattern and cap of a URL.
WIDER = {"model_input": "type", "webhook_endpoint": "format"}


@pytest.fixture(scope="module")
def document(live: Live) -> Any:
    with live.client() as client:
        return client.get("/openapi.json").json()


@pytest.mark.parametrize("action", BASETEN)
@pytest.mark.parametrize("target", TARGETS)
def test_every_operation_of_baseten_s_api_is_there(document: Any, action: str, target: str) -> None:
    method, success, errors = BASETEN[action]
    operation = document["paths"][f"{target}/{action}"][method]
    codes = {int(code) for code in operation["responses"]}
    assert success in codes
    assert not {code for code in codes if 200 <= code < 300} - {success}
    assert errors <= codes


def test_every_reference_leads_to_a_component(document: Any) -> None:
    text = json.dumps(document)
    named = set(re.findall(r'"\$ref": "([^"]+)"', text))
    assert {name.removeprefix("#/components/schemas/") for name in named} <= set(
        document["components"]["schemas"]
    )
    assert "$defs" not in text


def test_production_is_shown_behind_the_name_of_a_model(document: Any) -> None:
    shown = {
        path.partition("/production/")[2]
        for path in document["paths"]
        if path.startswith(("/models/", "/chains/"))
    }
    assert shown == {
        path.removeprefix("/production/")
        for path in document["paths"]
        if path.startswith("/production/")
    }


@pytest.mark.parametrize(
    ("method", "schema"), [("get", "RequestStatus"), ("delete", "CancelResponse")]
)
def test_status_and_cancel_have_no_target(document: Any, method: str, schema: str) -> None:
    responses = document["paths"]["/async_request/{request_id}"][method]["responses"]
    answer = responses["200"]["content"]["application/json"]["schema"]
    assert answer == {"$ref": f"#/components/schemas/{schema}"}
    assert {"401", "429"} <= set(responses)


def facts(schema: dict[str, Any]) -> dict[str, Any]:
    """Type, format and bounds of a field that may also be null, and its default."""
    plain = next(
        (variant for variant in schema.get("anyOf", []) if variant != {"type": "null"}), schema
    )
    names = ("type", "format", "minimum", "maximum")
    found = {name: plain[name] for name in names if name in plain}
    return found | {"default": schema.get("default")}


@pytest.mark.parametrize("theirs", MODELS, ids=lambda model: model.__name__)
def test_fields_types_defaults_and_bounds_are_baseten_s(
    document: Any, theirs: type[BaseModel]
) -> None:
    ours = document["components"]["schemas"][MODELS[theirs]]
    expected = theirs.model_json_schema()
    required = set(ours.get("required", []))
    assert set(expected.get("required", [])) <= required
    if "Request" in theirs.__name__ and "Status" not in theirs.__name__:
        assert set(expected.get("required", [])) == required  # nothing more is asked of a client
    for name, field in expected["properties"].items():
        if theirs is baseten.ErrorResponse and name == "detail":
            continue  # optional, and we have nothing to say there
        said, wanted = facts(ours["properties"][name]), facts(field)
        ignored = {WIDER.get(name), "format" if name.endswith("_at") else None}
        for fact, value in wanted.items():
            assert fact in ignored or said.get(fact) == value, (name, fact)


def words_of(model: type[BaseModel], field: str) -> set[str]:
    """The enumerated words of a field of Baseten's."""
    schema = model.model_json_schema()["properties"][field]
    return {word for variant in schema.get("anyOf", [schema]) for word in variant.get("enum", [])}


def test_our_words_are_baseten_s() -> None:
    assert words_of(baseten.AsyncRequestStatusResponse, "status") == {*Status, "WEBHOOK_FAILED"}
    known = words_of(baseten.AsyncRequestStatusResponse, "webhook_status")
    assert {*WebhookStatus} <= known
    assert words_of(baseten.AsyncRequestError, "code") <= {*ErrorCode}
    source = "".join(path.read_text() for path in (ROOT / "api").glob("*.py"))
    used = set(re.findall(r'Problem\(\s*\w+,\s*"(\w+)"', source))
    assert len(used) >= 5
    assert used <= words_of(baseten.ErrorResponse, "error_code")

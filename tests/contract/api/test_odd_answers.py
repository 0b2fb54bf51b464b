"""Answers of a model that HTTP cannot say: the model runs once, and its caller gets one clear error."""

from pathlib import Path

import httpx
import pytest

from tests.contract.api.conftest import submit

HOST_ERROR = {"x-baseten-error-source": "04", "x-baseten-error-code": "600"}
ODD = {
    "status 999": ({"status": 999, "headers": []}, "its status is 999"),
    "status 103": ({"status": 103, "headers": []}, "its status is 103"),
    "a line break": (
        {"status": 200, "headers": [["x-a", "1\r\nset-cookie: all=mine"]]},
        "its header 'x-a' holds what no header may hold",
    ),
    "two lengths": (
        {"status": 200, "headers": [["content-length", "7"]]},
        "it has two Content-Length headers",
    ),
    "HTTPException(999)": (
        {"status": 999, "headers": [], "raises": True},
        "its status is 999",
    ),
}


@pytest.mark.parametrize("odd", ODD)
def test_an_answer_that_cannot_be_sent_is_a_500_and_the_model_ran_once(
    http: httpx.Client, tmp_path: Path, odd: str
) -> None:
    order, why = ODD[odd]
    tally = tmp_path / "tally"
    given = {"odd": order, "tally": str(tally)}
    answer = http.post("/models/talker/production/predict", json=given)
    assert answer.status_code == 500
    assert answer.json() == {"error": f"The model's response cannot be sent: {why}."}
    assert HOST_ERROR.items() <= dict(answer.headers).items()
    assert answer.headers["x-baseten-model-prediction-attempts"] == "1"
    assert tally.read_text().splitlines() == ["run"]


@pytest.mark.parametrize("odd", ["status 999", "a line break"])
def test_it_fails_a_job_in_one_run_as_well(http: httpx.Client, tmp_path: Path, odd: str) -> None:
    order, why = ODD[odd]
    tally = tmp_path / "tally"
    given = {"odd": order, "tally": str(tally)}
    path = "/models/talker/production/async_predict"
    request_id = submit(http, given, path, inference_retry_config={"max_attempts": 1})
    said = http.get(f"/async_request/{request_id}", params={"wait": 25}).json()
    assert said["status"] == "FAILED"
    assert [error["code"] for error in said["errors"]] == ["MODEL_PREDICT_ERROR"]
    assert f"The model's response cannot be sent: {why}." in said["errors"][0]["message"]
    assert tally.read_text().splitlines() == ["run"]

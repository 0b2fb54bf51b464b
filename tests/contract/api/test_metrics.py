"""`/metrics` and the access log of a real API process with a real replica."""

import json
import shutil
import subprocess
import uuid
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conditions import wait_until
from tests.contract.api.conftest import ROOT, Live, submit

Found = Mapping[tuple[str, frozenset[tuple[str, str]]], float]
RETRY_ONCE = {"max_attempts": 2, "initial_delay_ms": 0, "max_delay_ms": 0}


def scraped(live: Live) -> str:
    with live.client(live.new_key(scope="metrics")) as client:
        answer = client.get("/metrics")
    assert answer.status_code == 200
    return answer.text


def total(live: Live, name: str, **labels: str) -> float:
    """The sum of all samples of that name with these labels."""
    wanted = set(labels.items())
    return sum(
        sample.value
        for family in text_string_to_metric_families(scraped(live))
        for sample in family.samples
        if sample.name == name and wanted <= set(sample.labels.items())
    )


def final(http: httpx.Client, request_id: str) -> dict[str, Any]:
    answer = http.get(f"/async_request/{request_id}", params={"wait": 20})
    assert answer.json()["status"] not in ("QUEUED", "IN_PROGRESS")
    return answer.json()


def test_requests_are_counted_by_level_final_status_and_error_code(
    live: Live, http: httpx.Client, echo: httpx.Client
) -> None:
    def finished(**labels: str) -> float:
        return total(live, "kingpost_requests_finished_total", model="echo", **labels)

    names = (
        "submitted_total",
        "queue_seconds_count",
        "run_seconds_count",
        "duration_seconds_count",
    )
    before = [
        total(
            live, f"kingpost_request{'s_' if name.endswith('total') else '_'}{name}", model="echo"
        )
        for name in names
    ]
    good = finished(status="SUCCEEDED", level="2", error_code="")
    bad = finished(status="FAILED", level="1", error_code="MODEL_PREDICT_ERROR")
    again = total(live, "kingpost_attempts_repeated_total", model="echo", reason="retry")
    final(http, submit(echo, 1, priority=2))
    retry = RETRY_ONCE
    final(http, submit(echo, {"fail": "no"}, priority=1, inference_retry_config=retry))
    assert finished(status="SUCCEEDED", level="2", error_code="") == good + 1
    assert finished(status="FAILED", level="1", error_code="MODEL_PREDICT_ERROR") == bad + 1
    assert (
        total(live, "kingpost_attempts_repeated_total", model="echo", reason="retry") == again + 1
    )
    after = [
        total(
            live, f"kingpost_request{'s_' if name.endswith('total') else '_'}{name}", model="echo"
        )
        for name in names
    ]
    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 2, 2, 2]


def test_http_requests_are_counted_by_route_and_never_by_what_a_client_wrote(
    live: Live, http: httpx.Client, echo: httpx.Client
) -> None:
    def answered(**labels: str) -> float:
        return total(live, "kingpost_http_requests_total", **labels)

    wanted = [
        {"route": "/{target}/predict", "method": "POST", "code": "200"},
        {"route": "/{target}/sync/{route}", "method": "POST", "code": "404"},
        {"route": "/v1/models", "method": "GET", "code": "200"},
        {"route": "unknown", "method": "GET", "code": "404"},
        {"route": "unknown", "method": "other"},
    ]
    before = [answered(**labels) for labels in wanted]
    echo.post("/production/predict", json=1)
    echo.post("/production/sync/nowhere", json=1)
    http.get("/v1/models")
    made_up = uuid.uuid4().hex
    http.get(f"/{made_up}")
    http.request("PROPFIND", f"/{made_up}")
    after = [answered(**labels) for labels in wanted]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1, 1, 1, 1]
    assert made_up not in scraped(live).lower()


def test_what_the_store_and_the_processes_are_like_is_told(live: Live) -> None:
    deployment = live.deployment("echo")
    assert total(live, "kingpost_store_up") == 1
    assert total(live, "kingpost_store_aof_enabled") == 1
    assert total(live, "kingpost_store_memory_bytes") > 0
    assert total(live, "kingpost_store_round_trip_seconds_count") > 0
    assert total(live, "process_open_fds") > 0
    environment = {"environment": "development", "deployment_id": deployment.id}
    assert total(live, "kingpost_environment_info", model="echo", **environment) == 1
    assert total(live, "kingpost_load_failed", model="echo") == 0
    assert total(live, "kingpost_maintenance_age_seconds") < 60
    assert total(live, "kingpost_build_info", version=version("kingpost")) == 1


def test_loads_are_counted_and_timed(live: Live) -> None:
    """The echo model of this stack has one replica, whose host other tests may have ended."""
    loads = total(live, "kingpost_loads_total", model="echo", result="ready")
    assert loads >= 1
    assert total(live, "kingpost_loads_total", model="echo", result="failed") == 0
    assert total(live, "kingpost_cold_starts_total", model="echo") == loads
    assert total(live, "kingpost_load_seconds_count", model="echo") == loads
    assert total(live, "kingpost_load_seconds_sum", model="echo") > 0


def test_every_metric_is_documented(live: Live) -> None:
    page = (ROOT / "docs" / "observing.md").read_text()
    families = text_string_to_metric_families(scraped(live))
    names = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in families
        if family.name.startswith("kingpost_")
    }
    assert len(names) > 30
    assert {name for name in names if f"`{name}`" not in page} == set()


def test_promtool_finds_nothing_to_say(live: Live) -> None:
    """Its linter knows the conventions: units, `_total`, help texts."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=scraped(live).encode(), capture_output=True
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


Line = dict[str, Any]
Lines = Callable[[], list[Line]]


@pytest.fixture
def lines(live: Live) -> Lines:
    """The access log from here on."""
    log = live.processes["api"].log
    begin = log.stat().st_size

    def read() -> list[Line]:
        with log.open("rb") as file:
            file.seek(begin)
            return [json.loads(line) for line in file if b'"request.answered"' in line]

    return read


def test_each_request_is_a_line_with_route_status_key_and_request_id(
    live: Live, echo: httpx.Client, lines: Lines
) -> None:
    request_id = submit(echo, 1)
    wait_until(lambda: lines())
    (line,) = lines()
    assert line["route"] == "/{target}/async_predict"
    assert (line["method"], line["status"]) == ("POST", 201)
    assert line["path"] == "/models/echo/production/async_predict"
    assert line["request_id"] == request_id
    assert line["key_id"] == "apitests"
    assert line["duration_ms"] >= 0


def test_no_line_has_an_input_an_output_a_query_or_a_key(
    live: Live, http: httpx.Client, echo: httpx.Client, lines: Lines
) -> None:
    canary = uuid.uuid4().hex
    size = live.processes["api"].log.stat().st_size
    echo.post("/production/predict", json={"fail": canary})
    final(http, submit(echo, {"secret": canary}))
    http.get("/v1/models", params={"signature": canary})
    httpx.get(f"{live.url}/v1/models", headers={"Authorization": f"Api-Key kp_canary.{canary}"})
    httpx.get(f"{live.url}/v1/models", headers={"Cookie": canary})
    wait_until(lambda: len(lines()) >= 5)
    with live.processes["api"].log.open("rb") as file:
        file.seek(size)
        assert canary.encode() not in file.read()


def test_health_checks_are_no_lines(live: Live, http: httpx.Client, lines: Lines) -> None:
    for path in ("/health", "/health/live", "/health/ready", "/"):
        assert http.get(path).status_code == 200
    http.get("/v1/models")
    wait_until(lambda: lines())
    assert [line["path"] for line in lines()] == ["/v1/models"]

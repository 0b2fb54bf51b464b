"""One request's trace, from submit to webhook, as a collector gets it from real processes."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.stack.ports import free_port
from tasks.process import tracing
from tasks.settings import Settings
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tests.api_keys import ApiKeys
from tests.collector import Collector, Seen
from tests.conditions import wait_until
from tests.contract.api.conftest import KEY, ROOT, _answers
from tests.processes import Process, ready_replicas, variables
from tests.valkey import Valkey

MODEL = Path(__file__).parent / "models" / "traced"
CANARY = "canary-7f3a"
SAMPLED = "00-{}-00f067aa0ba902b7-01"
TRACES = [f"{number:032x}" for number in range(0xABC1, 0xABCF)]


@dataclass
class Stack:
    """An API, maintenance and a replica that export to `collector`, and a receiver of webhooks that refuses first."""

    settings: Settings
    url: str
    collector: Collector
    hook: str
    hooks: list[str] = field(default_factory=list[str])

    def http(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Api-Key {KEY}"})

    def until(self, trace: str, names: list[str]) -> list[Seen]:
        """The spans of a trace, once there are as many as these."""
        with contextlib.suppress(AssertionError):  # the next one says what is missing
            wait_until(lambda: len(self.collector.of(trace)) >= len(names), 30)
        spans = self.collector.of(trace)
        assert sorted(span.name for span in spans) == sorted(names)
        return spans


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("traced")
    (folder / "valkey").mkdir()
    valkey = Valkey(folder / "valkey", fsync="everysec").start()
    settings = Settings(redis_url=valkey.url, state_dir=folder)
    ApiKeys(settings).install(KEY)
    collector, hooks, port = Collector(), list[str](), free_port()
    servers = [collector.start(), _receiver(hooks)]
    env = variables(
        settings,
        KINGPOST_API_KEY=KEY,
        KINGPOST_WEBHOOK_ALLOW_HTTP="true",
        KINGPOST_WEBHOOK_ALLOW_PRIVATE="true",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_BSP_SCHEDULE_DELAY="50",
        OTEL_TRACES_SAMPLER="parentbased_always_off",
        FASTAPI_OTEL_AUTO_CONFIGURE="true",  # its own spans would have queries
    )
    commands = (["api", "--port", str(port)], ["maintenance"], ["replica", str(MODEL)])
    processes = [Process(list(c), env, folder / f"{c[0]}.log").start() for c in commands]
    url = f"http://127.0.0.1:{port}"
    try:
        ready_replicas(settings, 1)
        wait_until(lambda: _answers(url), 30, "the API does not answer")
        yield Stack(
            settings, url, collector, f"http://127.0.0.1:{servers[1].server_port}/{CANARY}", hooks
        )
    finally:
        for process in processes:
            process.stop()
        for server in servers:
            server.shutdown()
        valkey.stop()


def _receiver(hooks: list[str]) -> ThreadingHTTPServer:
    """Refuses the first try of each webhook."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            request_id = self.headers["x-baseten-request-id"]
            self.send_response(200 if request_id in hooks else 503)
            hooks.append(request_id)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def submitted(stack: Stack, http: httpx.Client, trace: str, fails: bool, priority: int = 1) -> str:
    body = {
        "model_input": {"name": f"{CANARY} {trace}", "fails": fails},
        "webhook_endpoint": stack.hook,
        "priority": priority,
        "inference_retry_config": {"max_attempts": 2, "initial_delay_ms": 50, "max_delay_ms": 50},
    }
    headers = {"traceparent": SAMPLED.format(trace)}
    answer = http.post("/production/async_predict", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()["request_id"]


NONSENSE = {"traceparent": "nonsense"}
ATTEMPT = ["queue", "attempt", "claim", "host call", "preprocess", "predict", "the model's own"]
ENDS = ["postprocess", "settlement", "webhook", "webhook"]
SUBMIT = "POST /{target}/async_predict"


def test_two_attempts_and_a_webhook_that_is_tried_again_are_one_trace(stack: Stack) -> None:
    with stack.http() as http:
        request_id = submitted(stack, http, TRACES[0], fails=True)
    spans = stack.until(TRACES[0], [SUBMIT, *ATTEMPT, *ATTEMPT, *ENDS, "settlement"])
    by_id = {span.id: span for span in spans}
    parents = {
        (span.name, by_id[span.parent].name if span.parent in by_id else span.parent)
        for span in spans
    }
    assert parents == {
        (SUBMIT, "00f067aa0ba902b7"),  # the client's
        ("queue", SUBMIT),
        ("attempt", SUBMIT),
        ("claim", "attempt"),
        ("host call", "attempt"),
        ("preprocess", "host call"),
        ("predict", "host call"),
        ("postprocess", "host call"),
        ("the model's own", "predict"),
        ("settlement", "attempt"),
        ("webhook", SUBMIT),
    }
    attempts = [span for span in spans if span.name == "attempt"]
    assert [span.attributes["kingpost.attempt"] for span in attempts] == [1, 2]
    assert [span.attributes["kingpost.ended"] for span in attempts] == ["failed", "succeeded"]
    # Each attempt has its own call, and the second one waited in the queue after the first was over.
    calls = [span.parent for span in spans if span.name == "host call"]
    assert calls == [span.id for span in attempts]
    waits = [span for span in spans if span.name == "queue"]
    assert waits[1].began >= attempts[0].began and waits[1].ended >= attempts[0].ended
    tries = [span for span in spans if span.name == "webhook"]
    assert [span.attributes["http.response.status_code"] for span in tries] == [503, 200]
    assert [span.attributes["kingpost.verdict"] for span in tries] == ["retry", "delivered"]
    assert [span.failed for span in tries] == [True, False]
    assert [span.failed for span in spans if span.name == "predict"] == [True, False]
    named = {
        span.name for span in spans if span.attributes.get("kingpost.request_id") == request_id
    }
    assert named == {SUBMIT, "queue", "attempt", "webhook"}
    services = {span.service for span in spans}
    assert services == {f"kingpost-{part}" for part in ("api", "replica", "model", "maintenance")}


def test_a_retried_request_has_a_trace_of_its_own_with_a_link_to_the_first(stack: Stack) -> None:
    with stack.http() as http:
        request_id = submitted(stack, http, TRACES[1], fails=False)
        assert http.get(f"/async_request/{request_id}?wait=30").json()["status"] == "SUCCEEDED"
        headers = {"traceparent": SAMPLED.format(TRACES[2])}
        answer = http.post(f"/async_request/{request_id}/retry", headers=headers)
        assert answer.status_code == 201
    route = "POST /async_request/{request_id}/retry"
    spans = stack.until(TRACES[2], [route, "retry", *ATTEMPT, *ENDS])
    (again,) = (span for span in spans if span.name == "retry")
    assert again.links == (TRACES[1],)
    assert again.attributes["kingpost.retry_of"] == request_id
    assert {span.parent for span in spans if span.name == "attempt"} == {again.id}


def test_requests_that_are_retried_together_each_have_a_link_to_their_own_first_trace(
    stack: Stack,
) -> None:
    with stack.http() as http:
        first = {t: submitted(stack, http, t, fails=False, priority=2) for t in TRACES[7:9]}
        for request_id in first.values():
            assert http.get(f"/async_request/{request_id}?wait=30").json()["status"] == "SUCCEEDED"
        headers = {"traceparent": SAMPLED.format(TRACES[9])}
        answer = http.post("/v1/jobs/retry", headers=headers, json={"priority": 2})
        assert answer.json()["done"] == 2, answer.text
    spans = stack.until(TRACES[9], ["POST /v1/jobs/retry", *["retry", *ATTEMPT, *ENDS] * 2])
    again = {span.links: span for span in spans if span.name == "retry"}
    assert {links: span.attributes["kingpost.retry_of"] for links, span in again.items()} == {
        (trace,): request_id for trace, request_id in first.items()
    }
    for span in again.values():
        (attempt,) = (s for s in spans if s.name == "attempt" and s.parent == span.id)
        assert attempt.attributes["kingpost.request_id"] == span.attributes["kingpost.request_id"]
    for trace in first:
        stack.until(trace, [SUBMIT, *ATTEMPT, *ENDS])  # nothing joined it


def test_what_a_model_passes_on_joins_the_stage_that_calls(stack: Stack) -> None:
    body = {"name": CANARY, "fails": False}
    with stack.http() as http:
        headers = {"traceparent": SAMPLED.format(TRACES[10])}
        said = http.post("/production/predict", json=body, headers=headers).json()["traceparent"]
    stages = ["preprocess", "predict", "the model's own", "postprocess"]
    spans = stack.until(TRACES[10], ["POST /{target}/predict", *stages])
    (predict,) = (span for span in spans if span.name == "predict")
    assert said.split("-")[1:3] == [TRACES[10], predict.id]


def test_a_sync_call_is_traced_as_well(stack: Stack) -> None:
    body = {"name": CANARY, "fails": False}
    with stack.http() as http:
        headers = {"traceparent": SAMPLED.format(TRACES[3])}
        assert http.post("/production/predict", json=body, headers=headers).status_code == 200
    stages = ["preprocess", "predict", "the model's own", "postprocess"]
    spans = stack.until(TRACES[3], ["POST /{target}/predict", *stages])
    root = next(span for span in spans if span.service == "kingpost-api")
    by_id = {span.id: span.name for span in spans}
    assert root.parent == "00f067aa0ba902b7"
    assert [by_id[span.parent] for span in spans if span.name in ("preprocess", "postprocess")] == [
        root.name
    ] * 2


def test_what_the_sampler_leaves_out_is_not_recorded_and_takes_no_room_in_the_record(
    stack: Stack,
) -> None:
    """The sampler of this stack follows the client, and begins no trace itself."""
    with stack.http() as http:
        body = {"model_input": {"name": CANARY, "fails": False}}
        unsampled = {"traceparent": f"00-{TRACES[4]}-00f067aa0ba902b7-00"}
        store = JobStore(stack.settings)
        for headers, kept in (({}, ""), (unsampled, f"00-{TRACES[4]}"), (NONSENSE, "")):
            answer = http.post("/production/async_predict", json=body, headers=headers)
            request_id = answer.json()["request_id"]
            assert http.get(f"/async_request/{request_id}?wait=30").json()["status"] == "SUCCEEDED"
            trace = store.run(verbs.read(request_id)).job.traceparent
            assert trace.startswith(kept) and bool(trace) == bool(kept)
            assert not tracing.is_sampled(trace)
        store.close()
        submitted(stack, http, TRACES[5], fails=False)  # it comes after them
    stack.until(TRACES[5], [SUBMIT, *ATTEMPT, *ENDS])
    known = {*TRACES} - {TRACES[4]}
    assert {span.trace for span in stack.collector.spans} <= known


def test_no_span_has_an_input_an_output_a_key_or_an_address(stack: Stack) -> None:
    """Of all that the tests above have sent. A model's own span would have the text of its exception, which quotes the input."""
    with stack.http() as http:
        submitted(stack, http, TRACES[6], fails=True)
    stack.until(TRACES[6], [SUBMIT, *ATTEMPT, *ATTEMPT, *ENDS, "settlement"])
    said = b"".join(stack.collector.raw)
    assert b"host call" in said and b"ValueError" in said
    for secret in (CANARY, KEY, KEY.partition(".")[2], "no luck with", stack.hook):
        assert secret.encode() not in said


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [
        # redis's client imports the SDK of metrics for itself.
        ("api.app, workers.replica.main, tasks.maintenance", ("tasks.process.exporting", "opentelemetry.exporter")),
        ("workers.host.main", ("tasks.process.exporting", "opentelemetry")),
    ],
)  # fmt: skip
def test_without_its_variables_no_process_imports_the_sdk_for_traces(
    modules: str, unwanted: tuple[str, ...]
) -> None:
    code = f"""
import sys, {modules}
from tasks.process import tracing
tracing.set_up("x")
sys.exit(" ".join(name for name in sys.modules if name.startswith({unwanted})) or 0)
"""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run([sys.executable, "-c", code], env=kept, cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_without_its_variables_nothing_is_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (*tracing.ENDPOINTS, "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER"):
        monkeypatch.delenv(name, raising=False)
    assert not tracing.wanted()
    monkeypatch.setenv(tracing.ENDPOINTS[0], "http://127.0.0.1:4318")
    assert tracing.wanted()
    for name, value in (("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")):
        with monkeypatch.context() as inner:
            inner.setenv(name, value)
            assert not tracing.wanted()
    with tracing.during("x", SAMPLED.format(TRACES[0])) as span:
        assert span.traceparent == SAMPLED.format(TRACES[0])

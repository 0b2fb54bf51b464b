"""The server's routes and its errors."""

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conditions import wait_until
from tests.contract.host.conftest import StartHost
from tests.contract.host.running import RunningHost

MODEL = """
import sys
import fastapi
from prometheus_client import Counter
from starlette.exceptions import HTTPException

SERVED = Counter("served", "calls")

class Model:
    healthy = True
    def is_healthy(self):
        if self.healthy == "raise":
            raise RuntimeError("ill")
        return self.healthy
    def predict(self, what):
        SERVED.inc()
        if isinstance(what, list):
            raise fastapi.HTTPException(what[0], what[1], {"x-dropped": "1"})
        if isinstance(what, dict):
            self.healthy = what["healthy"]
        if what == "starlette":
            raise HTTPException(418, "no")
        if what == "bug":
            raise NotImplementedError("private")
        if what == "exit":
            sys.exit(3)
        if what == "no json":
            raise fastapi.HTTPException(400, {1, 2})
        if what == "stop":
            next(iter([]))
        return what
"""


@pytest.fixture(scope="module")
def host(start_host: StartHost) -> RunningHost:
    return start_host(MODEL)


def test_liveness_readiness_loaded_and_aliases(host: RunningHost) -> None:
    assert (host.http.get("/").status_code, host.http.get("/").text) == (200, "true")
    for path in ("/v1/models/model", "/v1/models/any", "/v1/models/any/loaded", "/ping"):
        assert (host.http.get(path).status_code, host.http.get(path).text) == (200, "{}")
    for path in ("/v1/models/any:predict", "/v1/models/model:predict_binary", "/invocations"):
        assert host.http.post(path, json=5).json() == 5
    assert host.http.get("/v1/models/model/schema").json() == {"error": "No schema found"}
    assert host.http.get("/v1/models/model/schema").status_code == 404


def test_a_health_check_without_a_word_is_no_refusal(host: RunningHost) -> None:
    host.predict({"healthy": None})
    assert host.http.get("/v1/models/model").status_code == 200
    assert "Health check failed." in host.text()
    host.predict({"healthy": True})


@pytest.mark.parametrize("sick", [False, "raise", 0, []])
def test_is_healthy_gates_readiness_only(host: RunningHost, sick: object) -> None:
    host.predict({"healthy": sick})
    answer = host.http.get("/v1/models/model")
    assert answer.status_code == 503
    assert answer.json() == {"error": "Model with name model is not ready."}
    assert answer.headers["x-baseten-error-code"] == "600"
    for path in ("/ping", "/v1/models/model/loaded"):
        assert host.http.get(path).status_code == 200
    assert host.predict(1).status_code == 200
    assert "Health check failed." in host.text()
    host.predict({"healthy": True})
    assert host.http.get("/v1/models/model").status_code == 200


def test_metrics_are_the_models_own(host: RunningHost) -> None:
    host.predict(1)
    for path in ("/metrics", "/metrics/"):
        text = host.http.get(path, follow_redirects=True).text
        assert "served_total" in text
        assert "_created" not in text
        assert "process_" not in text
        assert "python_" not in text


def test_unknown_routes_and_methods_have_fastapis_shape(host: RunningHost) -> None:
    missing = host.http.get("/nowhere")
    assert (missing.status_code, missing.json()) == (404, {"detail": "Not Found"})
    assert "x-baseten-error-code" not in missing.headers
    for method, path, allowed in (
        ("GET", "/invocations", "POST"),
        ("HEAD", "/", "GET"),
        ("POST", "/ping", "GET"),
        ("DELETE", "/v1/models/model:predict", "GET"),
        ("PUT", "/v1/chat/completions", "POST"),
    ):
        wrong = host.http.request(method, path)
        assert (wrong.status_code, wrong.headers["allow"]) == (405, allowed)
        assert "x-baseten-error-code" not in wrong.headers
    assert host.http.get("/invocations").json() == {"detail": "Method Not Allowed"}
    for path in ("/v1/models/model/", "/v1/chat/completions/", "/metrics"):
        assert host.http.post(path).status_code == 307


@pytest.mark.parametrize("what", ["bug", "starlette", "stop"])
def test_errors_of_the_model_are_500_without_their_text(host: RunningHost, what: str) -> None:
    for answer in host.answers(what):
        assert answer.status_code == 500
        assert answer.json() == {"error": "Internal Server Error (in model/chainlet)."}
        assert answer.headers["x-baseten-error-code"] == "600"
        assert answer.headers["x-baseten-error-source"] == "04"


@pytest.mark.parametrize("detail", ["wrong", {"why": ["a", 1]}, "é"])
def test_a_fastapi_exception_passes_its_status_and_detail(
    host: RunningHost, detail: object
) -> None:
    for answer in host.answers([422, detail]):
        assert (answer.status_code, answer.json()) == (422, {"error": detail})
        assert answer.headers["x-baseten-error-code"] == "600"
        assert "x-dropped" not in answer.headers


def test_a_status_without_a_body_has_none(host: RunningHost) -> None:
    answer = host.predict([204, "no body"])
    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-length" not in answer.headers
    assert host.predict(1).status_code == 200


def test_a_detail_that_is_no_json_is_an_error_all_the_same(host: RunningHost) -> None:
    for answer in host.answers("no json"):
        assert (answer.status_code, answer.headers["x-baseten-error-code"]) == (500, "500")
        assert answer.json()["error"].startswith("Unhandled exception: TypeError: ")


@pytest.mark.kingpost_only(
    "Truss's server answers 500 with UnicodeEncodeError; text is escaped here"
)
def test_half_a_surrogate_pair_in_a_detail_is_escaped(host: RunningHost) -> None:
    for answer in host.answers([422, "\ud800"]):
        assert (answer.status_code, answer.json()["error"]) == (422, "\\ud800")


def test_sys_exit_is_plain_text_and_the_server_survives(host: RunningHost) -> None:
    answer = host.predict("exit")
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert answer.headers["content-type"].startswith("text/plain")
    assert {answer.status_code for answer in host.answers("exit")} == {500}
    assert host.predict(1).json() == 1


def test_tracebacks_in_the_log_begin_at_the_models_file(host: RunningHost) -> None:
    host.predict("bug")
    lines = [json.dumps(line) for line in host.logs()]
    last = [line for line in lines if "NotImplementedError" in line][-1]
    assert "model/model.py" in last
    for frame_of_the_server in ("model_wrapper.py", "workers/"):
        assert frame_of_the_server not in last


RELOADABLE = """
from model.{helper} import WORD
class Model:
    def __init__(self): self.calls = 0
    def predict(self, model_input):
        self.calls += 1
        return [WORD, self.calls]
"""


def test_hot_reload_swaps_the_code_and_keeps_the_state(start_host: StartHost) -> None:
    source = RELOADABLE.format(helper="words")
    host = start_host(source, files={"model/words.py": "WORD = 'old'"})
    file = host.package / "model" / "model.py"
    assert host.predict(1).json() == ["old", 1]

    (host.package / "model" / "words.py").write_text("WORD = 'newer'")
    answer = host.worker.post("/hot-reload")
    assert (answer.status_code, answer.json()) == (200, {"msg": "Hot reload complete"})
    assert host.predict(1).json() == ["newer", 2]

    for broken, error in (
        ("class Model: x = 1 / 0", "ZeroDivisionError: division by zero"),
        ("class Model:\n    def predict(self, a, b): pass", "ModelDefinitionError: `predict`"),
    ):
        file.write_text(broken)
        refused = host.worker.post("/hot-reload")
        assert refused.status_code == 422
        assert refused.json()["error"].startswith(error)
        assert host.predict(1).status_code == 200


def test_sigterm_lets_running_and_queued_requests_finish(start_host: StartHost) -> None:
    host = start_host("""
        import pathlib, time
        class Model:
            def predict(self, name):
                pathlib.Path(f"data/run-{name}").touch()
                while not pathlib.Path("data/go").exists():
                    time.sleep(0.01)
                return name
    """)
    data: Path = host.package / "data"
    with ThreadPoolExecutor() as pool:
        running = pool.submit(host.predict, "a")
        wait_until((data / "run-a").exists)
        queued = pool.submit(host.predict, "b")
        host.settle(sync_waiting=1)
        host.process.send_signal(signal.SIGTERM)
        wait_until(lambda: host.state().get("state") in ("draining", None))
        (data / "go").touch()
        assert [running.result().json(), queued.result().json()] == ["a", "b"]
    killed_by_it = -signal.SIGTERM  # uvicorn raises the signal again when all is done
    assert host.process.wait(10) == (0 if host.name == "kingpost" else killed_by_it)


@pytest.mark.kingpost_only("the worker as parent")
def test_the_host_dies_with_its_parent(start_host: StartHost) -> None:
    host = start_host("class Model:\n    def predict(self): pass", state=None,
                      arguments=("--parent-pid", "1"))  # fmt: skip
    assert host.process.wait(20) == 1
    assert "is gone" in host.text()

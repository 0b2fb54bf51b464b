"""contract 3.1: loading."""

import json
from pathlib import Path

from tests.conditions import wait_until
from tests.contract.host.conftest import StartHost

TELL_ALL = """
import os, sys
from pathlib import Path
from bundled import BUNDLED
from model.beside import BESIDE

class Model:
    def __init__(self, **kwargs):
        self.kwargs = kwargs
        self.loads = 0

    async def load(self):
        self.loads += 1
        if self.loads == 1:
            raise RuntimeError("not yet")

    def setup_environment(self, environment):
        self.environment = (environment, self.loads)

    def predict(self, model_input):
        if model_input == "kwargs":
            return {name: str(type(value).__name__) for name, value in sorted(self.kwargs.items())}
        if model_input == "facts":
            return {
                "cwd": os.getcwd(), "data_dir": str(self.kwargs["data_dir"]),
                "data_exists": Path("data").is_dir(), "loads": self.loads, "bundled": BUNDLED,
                "beside": BESIDE, "variable": os.environ["FLAG"], "environment": self.environment,
                "lazy": self.kwargs["lazy_data_resolver"].block_until_download_complete(),
                "concurrency": self.kwargs["config"]["runtime"]["predict_concurrency"],
                "unknown": self.kwargs["config"]["my_key"], "given": self.kwargs["environment"],
                "leaks": [m for m in sys.modules if m in ("redis", "celery", "structlog", "torch", "numpy")],
            }
        return self.kwargs["secrets"][model_input]
"""
CONFIG = """
model_name: tell
my_key: kept
environment_variables: {FLAG: true}
secrets: {from_file: null, from_env: x, from_default: fallback, empty: null}
"""
FILES = {"packages/bundled.py": "BUNDLED = 1", "model/beside.py": "BESIDE = 2"}


def test_3_1_a_model_gets_what_it_asks_for(start_host: StartHost, tmp_path: Path) -> None:
    (tmp_path / "from_file").write_text("file")
    (tmp_path / "environment").write_text('{"name": "staging"}')
    places = ("--secrets-dir", str(tmp_path), "--environment-file", str(tmp_path / "environment"))
    env = {"TRUSS_SECRET_from_env": "env", "TRUSS_SECRET_undeclared": "x", "PATH": ""}
    host = start_host(TELL_ALL, CONFIG, FILES, arguments=places, env=env)

    assert host.predict("kwargs").json() == {
        "config": "dict",
        "data_dir": "PosixPath",
        "environment": "dict",
        "lazy_data_resolver": "LazyDataResolver",
        "secrets": "Secrets",
    }
    facts = host.predict("facts").json()
    assert facts == {
        "cwd": str(host.package), "data_dir": "data", "data_exists": True, "loads": 2, "bundled": 1,
        "beside": 2, "variable": "true", "environment": [{"name": "staging"}, 0], "lazy": "",
        "concurrency": 1, "unknown": "kept", "given": {"name": "staging"}, "leaks": [],
    }  # fmt: skip
    secrets = {name: host.predict(name) for name in ("from_file", "from_env", "from_default")}
    assert [answer.json() for answer in secrets.values()] == ["file", "env", "fallback"]
    for name in ("undeclared", "empty"):
        answer = host.predict(name)
        assert (answer.status_code, answer.headers["x-baseten-error-code"]) == (500, "600")
        assert "SecretNotFound" in host.text()


def test_3_1_a_constructor_without_arguments_gets_none(start_host: StartHost) -> None:
    host = start_host("""
        class Model:
            def __init__(self, secrets): self.n = len(secrets)
            def __len__(self): return 0
            def predict(self, model_input): return self.n
    """)
    assert host.predict(1).json() == 0


def test_3_1_load_is_tried_twice_and_the_failure_is_told(start_host: StartHost) -> None:
    host = start_host(
        """
        class Model:
            calls = 0
            def load(self):
                Model.calls += 1
                raise RuntimeError(f"no weights\\nafter {Model.calls}")
            def predict(self, model_input): return 1
        """,
        state="failed",
    )
    error = host.state()["error"]
    assert error["message"] == "RuntimeError: no weights after 2"
    assert "model.py" in error["traceback"]
    assert "workers" not in error["traceback"]
    assert "raise RuntimeError" in error["traceback"]
    for answer in (host.predict(1), host.http.get("/v1/models/model"), host.http.get("/ping")):
        assert answer.status_code == 503
        assert answer.json() == {"error": "Model with name model is not ready."}
    assert host.job(1).status_code == 503
    assert host.http.get("/").json() is True
    assert host.http.post("/kingpost/slots").status_code == 503


def test_3_1_relative_imports_are_refused_with_advice(start_host: StartHost) -> None:
    host = start_host("from . import beside\nclass Model: pass", state="failed")
    assert "relative import" in host.state()["error"]["message"]


def test_3_1_while_loading_the_server_answers_and_is_not_ready(
    start_host: StartHost, tmp_path: Path
) -> None:
    gate = tmp_path / "go"
    host = start_host(
        f"""
        import pathlib, time
        class Model:
            def load(self):
                while not pathlib.Path({str(gate)!r}).exists():
                    time.sleep(0.01)
            def is_healthy(self): raise RuntimeError("must not be asked while loading")
            def predict(self, model_input): return "loaded"
        """,
        state="loading",
    )
    assert host.http.get("/").status_code == 200
    assert host.http.get("/v1/models/model").status_code == 503
    assert host.http.get("/v1/models/model/schema").json() == {
        "error": "Schema not available, please try again later."
    }
    assert host.predict(1).status_code == 503
    assert "must not be asked" not in host.text()
    gate.touch()
    assert host.wait("ready").predict(1).json() == "loaded"


def test_3_1_prints_and_logs_become_json_lines_with_the_request_id(start_host: StartHost) -> None:
    host = start_host("""
        import logging, sys
        class Model:
            def preprocess(self, model_input):
                print("printed")
                return model_input
            async def predict(self, model_input):
                logging.warning("logged %s", 1)
                print("half", end=" "); print("line", file=sys.stdout)
                return model_input
    """)
    host.predict(1, headers={"x-baseten-request-id": "abc"})
    host.job(1, name="def")
    wait_until(lambda: sum(line.get("message") == "half line" for line in host.logs()) == 2)
    lines = [
        (line["request_id"], line["level"], line["message"])
        for line in host.logs()
        if "request_id" in line
    ]
    assert lines == [
        (name, level, message)
        for name in ("abc", "def")
        for level, message in (("info", "printed"), ("warning", "logged 1"), ("info", "half line"))
    ]


def test_3_1_a_wrong_package_ends_the_start_with_one_sentence(start_host: StartHost) -> None:
    host = start_host("", "runtime: {predict_concurrency: 0}", state=None)
    assert host.process.wait(20) == 1
    assert host.text().strip() == (
        "runtime.predict_concurrency must be an integer of at least 1, not 0."
    )


def test_3_8_environment_and_state_are_json(start_host: StartHost) -> None:
    host = start_host("class Model:\n    def predict(self): return None")
    state = host.state()
    assert state == {
        "state": "ready", "error": None, "slots": 1, "busy": 0, "sync_waiting": 0, "jobs_waiting": 0,
        "pid": host.process.pid,
    }  # fmt: skip
    assert json.loads(host.predict(None).text) is None

"""Loading."""

from pathlib import Path

import pytest

from tests.conditions import wait_until
from tests.contract.host.conftest import StartHost

TELL_ALL = """
import os
from pathlib import Path
from bundled import BUNDLED
from model.beside import BESIDE

class Model:
    def __init__(self, **kwargs):
        self.kwargs = kwargs
        self.loads = 0

    def load(self):
        self.loads += 1
        if self.loads == 1:
            raise RuntimeError("not yet")

    def setup_environment(self, environment):
        self.environment = (environment, self.loads)

    def predict(self, model_input):
        if model_input == "kwargs":
            return {name: isinstance(value, (dict, Path)) for name, value in self.kwargs.items()}
        if model_input == "facts":
            return {
                "cwd": os.getcwd(), "data_dir": str(self.kwargs["data_dir"]),
                "data_exists": Path("data").is_dir(), "loads": self.loads, "bundled": BUNDLED,
                "beside": BESIDE, "variable": os.environ["FLAG"], "environment": self.environment,
                "lazy": self.kwargs["lazy_data_resolver"].block_until_download_complete(),
                "concurrency": self.kwargs["config"]["runtime"]["predict_concurrency"],
                "unknown": self.kwargs["config"]["my_key"], "given": self.kwargs["environment"],
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


def test_a_model_gets_what_it_asks_for(start_host: StartHost, tmp_path: Path) -> None:
    (tmp_path / "from_file").write_text("file")
    (tmp_path / "environment").write_text('{"name": "staging"}')
    places = ("--secrets-dir", str(tmp_path), "--environment-file", str(tmp_path / "environment"))
    env = {"TRUSS_SECRET_from_env": "env", "TRUSS_SECRET_undeclared": "x", "PATH": ""}
    host = start_host(TELL_ALL, CONFIG, FILES, arguments=places, env=env)

    assert host.predict("kwargs").json() == {
        "config": True,
        "data_dir": True,
        "environment": True,
        "lazy_data_resolver": False,
        "secrets": False,
    }
    facts = host.predict("facts").json()
    assert facts == {
        "cwd": str(host.package), "data_dir": "data", "data_exists": True, "loads": 2, "bundled": 1,
        "beside": 2, "variable": "true", "environment": [{"name": "staging"}, 0], "lazy": "",
        "concurrency": 1, "unknown": "kept", "given": {"name": "staging"},
    }  # fmt: skip
    secrets = {name: host.predict(name) for name in ("from_file", "from_env", "from_default")}
    assert [answer.json() for answer in secrets.values()] == ["file", "env", "fallback"]
    for name in ("undeclared", "empty"):
        answer = host.predict(name)
        assert (answer.status_code, answer.headers["x-baseten-error-code"]) == (500, "600")
        assert "SecretNotFound" in host.text()


@pytest.mark.kingpost_only("the host's own economy")
def test_the_host_imports_nothing_of_the_worker_and_no_numpy(start_host: StartHost) -> None:
    host = start_host("""
        import sys
        ABSENT = "redis", "celery", "structlog", "torch", "numpy"
        class Model:
            def predict(self, model_input): return [name for name in ABSENT if name in sys.modules]
    """)
    assert host.predict(1).json() == []


def test_a_constructor_gets_only_what_it_names(start_host: StartHost) -> None:
    host = start_host("""
        class Model:
            def __init__(self, secrets, other=5): self.n = [len(secrets), other]
            def predict(self, model_input): return self.n
    """)
    assert host.predict(1).json() == [0, 5]


FAILS_TO_LOAD = """
class Model:
    calls = 0
    def load(self):
        Model.calls += 1
        raise RuntimeError(f"no weights\\nafter {Model.calls}")
    def predict(self, model_input): return 1
"""


@pytest.mark.parametrize(("retries", "calls"), [(None, 2), ("0", 1), ("2", 3)])
def test_load_is_tried_again_as_often_as_asked(
    start_host: StartHost, retries: str | None, calls: int
) -> None:
    env = {"NUM_LOAD_RETRIES_TRUSS": retries} if retries else None
    host = start_host(FAILS_TO_LOAD, state="failed", env=env)
    assert f"after {calls}" in host.text()
    assert f"after {calls + 1}" not in host.text()


@pytest.mark.kingpost_only("private routes")
def test_the_failure_of_a_load_is_told(start_host: StartHost) -> None:
    host = start_host(FAILS_TO_LOAD, state="failed")
    error = host.state()["error"]
    assert error["message"] == "RuntimeError: no weights after 2"
    assert "model.py" in error["traceback"]
    assert "workers" not in error["traceback"]
    assert "raise RuntimeError" in error["traceback"]
    assert host.worker.post("/jobs/job1", content="1").status_code == 503
    assert host.worker.post("/slots").status_code == 503


def test_relative_imports_are_refused_with_advice(start_host: StartHost) -> None:
    source = "from .beside import WORD\nclass Model:\n    def predict(self, x): return WORD"
    files = {"model/main.py": source, "model/beside.py": "WORD = 'beside'"}
    host = start_host(None, "model_class_filename: main.py", files, state="failed")
    assert "ImportError: " in host.text()
    assert "relative import" in host.text()


def test_a_model_py_in_model_may_import_relatively_all_the_same(start_host: StartHost) -> None:
    # Truss means to refuse it, but the name that it gives the module makes it work.
    source = "from .beside import WORD\nclass Model:\n    def predict(self, x): return WORD"
    host = start_host(source, files={"model/beside.py": "WORD = 'beside'"})
    assert host.predict(1).json() == "beside"


def test_the_models_module_can_be_looked_up(start_host: StartHost) -> None:
    host = start_host("""
        from __future__ import annotations
        import dataclasses, pickle
        import pydantic

        @dataclasses.dataclass
        class Point:
            x: int

        class Points(pydantic.RootModel[list]): pass

        class Model:
            def predict(self, x):
                point = pickle.loads(pickle.dumps(Point(x)))
                return [__name__, Model.__module__, point.x, Points([1]).root]
    """)
    assert host.predict(7).json() == ["model.model", "model.model", 7, [1]]


def test_module_file_and_class_have_the_names_of_the_configuration(
    start_host: StartHost,
) -> None:
    files = {"model/main.py": "class Other:\n    def predict(self, x): return [__name__, x]"}
    config = "model_class_filename: main.py\nmodel_class_name: Other\n"
    host = start_host(None, config, files)
    assert host.predict(1).json() == ["main", 1]


def test_packages_and_data_may_lie_elsewhere(start_host: StartHost) -> None:
    config = """
        data_dir: weights
        bundled_packages_dir: vendored
        external_package_dirs: [../outside]
    """
    files = {
        "weights/w.txt": "heavy",
        "vendored/inside.py": "WORD = 'inside'",
        "../outside/outer/__init__.py": "WORD = 'outside'",
    }
    model = """
        import inside, outer
        class Model:
            def __init__(self, data_dir): self.data = data_dir
            def predict(self, x): return [(self.data / "w.txt").read_text(), inside.WORD, outer.WORD]
    """
    assert start_host(model, config, files).predict(1).json() == ["heavy", "inside", "outside"]


@pytest.mark.parametrize(
    "folder",
    [
        "packages/",
        pytest.param("", marks=pytest.mark.kingpost_only("modules beside the model's folder")),
    ],
)
def test_a_package_may_use_the_names_of_the_servers_own_modules(
    start_host: StartHost, folder: str
) -> None:
    files = {
        "tasks.py": "WORD = 'tasks'",
        "workers/__init__.py": "",
        "workers/beside.py": "WORD = 'workers'",
        "deployments/__init__.py": "",
        "deployments/package.py": "WORD = 'deployments'",
        "api/routes.py": "WORD = 'api'",
    }
    model = """
        import tasks
        from api import routes
        from deployments import package
        from workers import beside
        class Model:
            def predict(self, x):
                return [tasks.WORD, beside.WORD, package.WORD, routes.WORD]
    """
    host = start_host(model, "", {folder + name: text for name, text in files.items()})
    assert host.predict(1).json() == ["tasks", "workers", "deployments", "api"]


BROKEN = [
    ("x = 1", "has no attribute 'Model'"),
    ("class Model(:", "SyntaxError"),
    ("raise ValueError('at import')", "ValueError: at import"),
    ("class Model:\n    def __init__(self, foo): pass", "missing 1 required positional argument"),
    ("class Model:\n    predict = None", "None is not a callable object"),
    ("class Model:\n    load = None\n    def predict(self, x): pass", "not callable"),
]


@pytest.mark.kingpost_only("Truss's server names no way out")
def test_another_name_of_the_class_is_told_with_the_key_for_it(start_host: StartHost) -> None:
    host = start_host("class Modell:\n    def predict(self, x): pass", state=None)
    said = host.wait("failed").text()
    assert "has no attribute 'Model' but Modell; rename the class, or set model_class_name" in said


def test_what_cannot_be_imported_or_made_fails_the_load(start_host: StartHost) -> None:
    hosts = [start_host(source, state=None) for source, _ in BROKEN]
    for (source, complaint), host in zip(BROKEN, hosts, strict=True):
        assert complaint in host.wait("failed").text(), source


@pytest.mark.conformance_only("both servers look every 30 s")
def test_a_new_environment_is_told_while_serving(start_host: StartHost, tmp_path: Path) -> None:
    file = tmp_path / "environment"
    model = """
        class Model:
            told = []
            {}def setup_environment(self, environment): self.told.append(environment)
            def predict(self, model_input): return self.told
    """
    arguments = ("--environment-file", str(file))
    hosts = [start_host(model.format(how), arguments=arguments) for how in ("", "async ")]
    assert [host.predict(1).json() for host in hosts] == [[], []]
    file.write_text('{"name": "production"}')
    for host in hosts:
        wait_until(lambda host=host: host.predict(1).json() == [{"name": "production"}], 40)


def test_while_loading_the_server_answers_and_is_not_ready(
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
            def is_healthy(self):
                if not pathlib.Path({str(gate)!r}).exists():
                    raise RuntimeError("must not be asked while loading")
                return True
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
    assert host.http.get("/v1/models/model").status_code == 200


def test_a_declared_schema_is_told_before_the_model_is_loaded(
    start_host: StartHost, tmp_path: Path
) -> None:
    gate = tmp_path / "go"
    host = start_host(
        f"""
        import pathlib, time
        import pydantic
        class In(pydantic.BaseModel):
            name: str
        class Model:
            def load(self):
                while not pathlib.Path({str(gate)!r}).exists():
                    time.sleep(0.01)
            def predict(self, model_input: In): return 1
        """,
        state="loading",
    )
    wait_until(lambda: host.http.get("/v1/models/model/schema").status_code == 200)
    assert host.predict({"name": "x"}).status_code == 503
    gate.touch()
    host.wait("ready")


def test_log_records_are_json_lines_with_the_request_id(start_host: StartHost) -> None:
    host = start_host("""
        import logging
        class Model:
            def predict(self, model_input):
                logging.warning("logged %s", model_input)
                return model_input
    """)
    headers = {"x-baseten-request-id": "abc", "x-baseten-chain-request-id": "def"}
    host.predict(1, headers=headers)
    host.predict(2)
    wait_until(lambda: "logged 2" in host.text())
    first, two = (line for line in host.logs() if line.get("message", "").startswith("logged"))
    assert (first["message"], first["request_id"], first["chain_request_id"]) == (
        "logged 1",
        "abc",
        "def",
    )
    assert not {"request_id", "chain_request_id"} & two.keys()


@pytest.mark.kingpost_only("log lines name their request")
def test_prints_and_logs_become_json_lines_with_the_request_id(
    start_host: StartHost,
) -> None:
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


@pytest.mark.kingpost_only("a package that Truss checks before it is pushed")
def test_a_wrong_package_ends_the_start_with_one_sentence(start_host: StartHost) -> None:
    host = start_host("", "runtime: {predict_concurrency: 0}", state=None)
    assert host.process.wait(20) == 1
    assert host.text().strip() == (
        "runtime.predict_concurrency must be an integer of at least 1, not 0."
    )


@pytest.mark.kingpost_only("private routes")
def test_the_state_is_json(start_host: StartHost) -> None:
    host = start_host("class Model:\n    def predict(self): return None")
    state = host.state()
    assert state == {
        "state": "ready", "error": None, "slots": 1, "busy": 0, "sync_waiting": 0, "jobs_waiting": 0,
        "open": 0, "served": 0, "pid": host.process.pid, "not_live_ms": 0, "not_ready_ms": 0, "fault": "",
    }  # fmt: skip
    assert host.predict(None).json() is None
    assert (host.state()["open"], host.state()["served"]) == (0, 1)


def test_the_model_s_module_can_be_looked_up_while_it_is_imported(start_host: StartHost) -> None:
    """pydantic's generics and dataclasses look into `sys.modules[cls.__module__]`."""
    host = start_host(
        """
        import sys
        import pydantic

        Output = pydantic.RootModel[tuple[int, str]]

        class Model:
            def predict(self, given):
                return [Output((1, "a")).model_dump(), sys.modules[type(self).__module__].Model is Model]
        """
    )
    assert host.predict({}).json() == [[1, "a"], True]


WARM = """
import pathlib, threading

class Model:
    def load(self):
        self.steps = ["load"]

    def warmup(self{more}):
        while not pathlib.Path("go").exists():
            threading.Event().wait(0.01)
        {then}
        self.steps.append("warmup")

    def predict(self, given):
        return self.steps
"""


@pytest.mark.kingpost_only("warmup")
def test_issue_17_2_a_model_is_ready_once_it_is_warm(start_host: StartHost) -> None:
    host = start_host(WARM.format(more="", then=""), state="loading")
    assert host.predict(1).status_code == 503
    (host.package / "go").touch()
    assert host.wait().predict(1).json() == ["load", "warmup"]


@pytest.mark.kingpost_only("warmup")
def test_issue_17_2_a_warm_up_that_fails_is_a_failed_load(start_host: StartHost) -> None:
    broken = WARM.format(more="", then="raise ValueError('no kernel')")
    host = start_host(broken, files={"go": ""}, state="failed")
    assert host.state()["error"]["message"] == "ValueError: no kernel"


@pytest.mark.kingpost_only("warmup")
def test_issue_17_2_a_method_of_that_name_with_arguments_is_the_model_s_own(
    start_host: StartHost,
) -> None:
    assert start_host(WARM.format(more=", steps", then="")).predict(1).json() == ["load"]

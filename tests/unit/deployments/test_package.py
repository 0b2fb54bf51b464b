"""config.yaml: defaults filled, whatever is wrong named in one sentence."""

from pathlib import Path

import pytest

from deployments.packages.package import (
    Batching,
    DockerServer,
    Package,
    PackageError,
    Runtime,
    Transport,
)
from kingpost.packing.files import folder_hash

SERVER = """
docker_server:
  start_command: serve --port 9000
  server_port: 9000
  predict_endpoint: /predict
  readiness_endpoint: /ready
  liveness_endpoint: /live
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.py").write_text("class Model: pass\n")
    (tmp_path / "config.yaml").write_text("")
    return tmp_path


def load(folder: Path, config: str) -> Package:
    (folder / "config.yaml").write_text(config)
    return Package.load(folder)


def test_an_empty_file_has_every_default(folder: Path) -> None:
    package = load(folder, "")
    assert package.model_name == folder.name
    assert package.runtime == Runtime()
    assert (package.secrets, package.environment_variables, package.requirements) == ({}, {}, ())
    assert package.docker_server is None
    assert package.config["runtime"] == {
        "predict_concurrency": 1,
        "streaming_read_timeout": 60,
        "enable_debug_logs": False,
        "enable_tracing_data": False,
        "transport": {"kind": "http"},
        "health_checks": {},
    }
    for key in ("requirements", "model_module_dir", "model_class_filename", "model_class_name"):
        assert key in package.config


def test_everything_is_read(folder: Path) -> None:
    (folder / "extra").mkdir()
    (folder / "requirements.txt").write_text("numpy")
    package = load(
        folder,
        """
        model_name: Nice
        mine: 5
        external_package_dirs: [extra]
        requirements_file: requirements.txt
        environment_variables: {A: true, B: 1, C: x, D: null}
        secrets: {key: null, other: default}
        model_metadata: {example_model_input: {a: 1}}
        resources: {accelerator: A10G}
        runtime:
          predict_concurrency: 4
          streaming_read_timeout: 5
          enable_debug_logs: true
          transport: {kind: websocket, ping_interval_seconds: 3}
          health_checks: {restart_threshold_seconds: 60}
          batching: {max_batch_size: 8, max_wait_ms: 2.5}
        """,
    )
    assert package.model_name == "Nice"
    assert package.config["mine"] == 5
    assert package.external_package_dirs == (folder / "extra",)
    assert package.environment_variables == {"A": "true", "B": "1", "C": "x", "D": "None"}
    assert package.secrets == {"key": None, "other": "default"}
    assert package.resources == {"accelerator": "A10G"}
    runtime = package.runtime
    assert (runtime.predict_concurrency, runtime.streaming_read_timeout) == (4, 5)
    assert runtime.transport == Transport("websocket", 3)
    assert runtime.health_checks.restart_threshold_seconds == 60
    assert runtime.batching == Batching(8, 2.5)


def test_a_docker_server_needs_no_model_file(tmp_path: Path) -> None:
    package = load(tmp_path, SERVER)
    assert package.docker_server == DockerServer(
        "serve --port 9000", 9000, "/predict", "/ready", "/live"
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("- a", "config.yaml must be a mapping of keys to values."),
        ("a: [", "config.yaml:1:5 is not valid YAML: "),
        ("model_name: [x]", "model_name must be a string, not ['x']."),
        ("requirements: numpy", "requirements must be a list of strings, not 'numpy'."),
        ("requirements: [a]\nrequirements_file: b", "Set either requirements or requirements_file"),
        ("requirements_file: gone.txt", "requirements_file: gone.txt is not in the package."),
        ("external_package_dirs: [gone]", "external_package_dirs: "),
        ("environment_variables: [A]", "environment_variables must be a mapping"),
        ("runtime: 5", "runtime must be a mapping of names to values, not 5."),
        ("runtime: {num_workers: 2}", "runtime.num_workers must be 1"),
        (
            "runtime: {predict_concurrency: 0}",
            "runtime.predict_concurrency must be an integer of at least 1, not 0.",
        ),
        ("runtime: {predict_concurrency: true}", "runtime.predict_concurrency must be"),
        (
            "runtime: {streaming_read_timeout: 0}",
            "runtime.streaming_read_timeout must be a number above 0, not 0.",
        ),
        ("runtime: {enable_debug_logs: 1}", "runtime.enable_debug_logs must be true or false, not 1."),
        ("runtime: {transport: {kind: ftp}}", "runtime.transport.kind must be http, websocket or grpc"),
        ("runtime: {batching: {max_wait_ms: 1}}", "runtime.batching.max_batch_size is required"),
        ("runtime: {batching: {max_batch_size: 0}}", "runtime.batching.max_batch_size must be"),
        ("runtime: {batching: {max_batch_size: 2, max_wait_ms: -1}}", "runtime.batching.max_wait_ms"),
        ("model_class_filename: other.py", "There is no model/other.py in "),
        (SERVER.replace("server_port: 9000", "server_port: 8080"), "docker_server.server_port must"),
        (SERVER.replace("start_command:", "x:"), "docker_server.start_command is required."),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_in_one_sentence(folder: Path, config: str, message: str) -> None:
    with pytest.raises(PackageError) as refused:
        load(folder, config)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_a_yml_file_gets_a_hint(folder: Path) -> None:
    (folder / "config.yaml").rename(folder / "config.yml")
    with pytest.raises(PackageError, match=r"rename config.yml to config.yaml"):
        Package.load(folder)


def test_duplicate_keys_warn_and_the_last_wins(folder: Path) -> None:
    package = load(folder, "model_name: a\nmodel_name: b\nruntime: {}\n")
    assert package.model_name == "b"
    assert package.warnings == ("config.yaml line 2: model_name is set twice; the last wins.",)


def test_the_content_hash_follows_content_and_names_only(folder: Path) -> None:
    before = folder_hash(folder)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_text("x")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("x")
    assert folder_hash(folder) == before
    (folder / "a.txt").write_text("b")
    with_file = folder_hash(folder)
    (folder / "a.txt").rename(folder / "b.txt")
    assert len({before, with_file, folder_hash(folder)}) == 3

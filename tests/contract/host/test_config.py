"""The configuration as the model gets it, which on both servers is the expanded file."""

import json
import sys
from typing import Any

import pytest
import yaml

from cli.stack.ports import free_port
from tests.contract.host.conftest import StartHost
from tests.unit.deployments.test_example_configs import CONFIGS, FAMILIES, REFUSED, generated, of

TELLS = "class Model:\n    def __init__(self, config): self.c = config\n    def predict(self, x): return self.c"
EXPANDED: dict[str, Any] = {
    "apply_library_patches": True,
    "base_image": None,
    "bdn": {"access": [], "hotload": {"enabled": False}, "mounts": []},
    "bis_llm": None,
    "build": {"arguments": {}, "model_server": "TrussServer", "no_cache": False, "secret_to_path_mapping": {}},
    "build_commands": [],
    "bundled_packages_dir": "packages",
    "cache_internal": [],
    "data_dir": "data",
    "description": None,
    "docker_server": None,
    "environment_variables": {},
    "examples_filename": "examples.yaml",
    "external_data": None,
    "external_package_dirs": [],
    "input_type": "Any",
    "live_reload": False,
    "model_cache": [],
    "model_class_filename": "model.py",
    "model_class_name": "Model",
    "model_framework": "custom",
    "model_metadata": {},
    "model_module_dir": "model",
    "model_name": "bare",
    "model_type": "Model",
    "python_version": "py313",
    "requirements": [],
    "requirements_file": None,
    "resources": {"accelerator": None, "cpu": "1", "memory": "2Gi", "use_gpu": False},
    "runtime": {
        "egress_restrictions": None,
        "enable_debug_logs": False,
        "enable_tracing_data": False,
        "health_checks": {
            "restart_check_delay_seconds": None,
            "restart_threshold_seconds": None,
            "startup_threshold_seconds": None,
            "stop_traffic_threshold_seconds": None,
        },
        "is_websocket_endpoint": False,
        "oidc": {"enabled": None},
        "predict_concurrency": 1,
        "remote_ssh": {"enabled": False},
        "streaming_read_timeout": 60,
        "transport": {"kind": "http"},
        "truss_server_version_override": None,
    },
    "secrets": {},
    "spec_version": "2.0",
    "system_packages": [],
    "training_checkpoints": None,
    "trt_llm": None,
    "use_local_src": False,
    "weights": [],
}  # fmt: skip


def test_every_default_is_filled(start_host: StartHost) -> None:
    host = start_host(TELLS, "model_name: bare")
    assert host.predict(1).json() == EXPANDED


GIVEN: list[tuple[str, dict[str, Any]]] = [
    (
        "environment_variables: {FLAG: true, N: 1, T: x}",
        {"environment_variables": {"FLAG": "true", "N": "1", "T": "x"}},
    ),
    (
        "resources: {accelerator: A10G, cpu: '3', use_gpu: false}",
        {"resources": {"accelerator": "A10G", "cpu": "3", "memory": "2Gi", "use_gpu": True}},
    ),
    ("mine: {a: [1]}\nmodel_metadata: {b: 2}", {"mine": {"a": [1]}, "model_metadata": {"b": 2}}),
    ("secrets: {a: null, b: x}", {"secrets": {"a": None, "b": "x"}}),
    (
        "runtime: {predict_concurrency: 3, health_checks: {restart_threshold_seconds: 20}, own: 1}",
        {
            "runtime": EXPANDED["runtime"]
            | {"predict_concurrency": 3, "own": 1}
            | {"health_checks": EXPANDED["runtime"]["health_checks"] | {"restart_threshold_seconds": 20}}
        },
    ),
    (
        "runtime: {transport: {kind: websocket, ping_interval_seconds: 4}}",
        {
            "runtime": EXPANDED["runtime"]
            | {"is_websocket_endpoint": True}
            | {"transport": {"kind": "websocket", "ping_interval_seconds": 4, "ping_timeout_seconds": None}}
        },
    ),
    ("model_name: a\nmodel_name: b\npython_version: py311", {"model_name": "b", "python_version": "py311"}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "changed"), GIVEN)
def test_what_is_given_stands(start_host: StartHost, text: str, changed: dict[str, Any]) -> None:
    host = start_host(TELLS, text)
    assert host.predict(1).json() == EXPANDED | {"model_name": None} | changed


TALKS = """
class Model:
    def __init__(self, config, **_):
        self.told = {"config": config["model_name"], "secrets": sorted(config["secrets"])}
    METHOD
"""
METHODS = {
    "a Model class": "def predict(self, x): return self.told",
    "a Model class elsewhere": "def predict(self, x): return self.told",
    "a websocket": "async def websocket(self, ws): await ws.send_json(self.told)",
}


def fullest(family: str) -> dict[str, Any]:
    """The config of the corpus with the most keys that a push takes as it is."""
    of_family = range(list(FAMILIES).index(family), CONFIGS, len(FAMILIES))
    taken = [config for seed in of_family if not of(config := generated(seed), REFUSED)]
    return max(taken, key=lambda config: len(yaml.safe_dump(config)))


# Truss's Dockerfile copies another model_module_dir to `model`, where its server does not look for it.
ELSEWHERE = pytest.param(
    "a Model class elsewhere", marks=pytest.mark.kingpost_only("model_module_dir")
)


@pytest.mark.parametrize("family", ["a Model class", ELSEWHERE, "a websocket"])
async def test_a_config_of_the_corpus_that_a_push_takes_runs(
    start_host: StartHost, family: str
) -> None:
    config = fullest(family)
    place = f"{config.get('model_module_dir', 'model')}/{config.get('model_class_filename', 'model.py')}"
    model = TALKS.replace("METHOD", METHODS[family])
    host = start_host(None, yaml.safe_dump(config), {place: model, "requirements.txt": ""})
    told = {"config": config["model_name"], "secrets": sorted(config.get("secrets", {}))}
    if family == "a websocket":
        async with host.websocket() as socket:
            assert json.loads(await socket.recv()) == told
    else:
        assert host.predict(1).json() == told


@pytest.mark.kingpost_only("docker_server")
def test_a_custom_server_of_the_corpus_runs(start_host: StartHost) -> None:
    config, port = fullest("a custom server"), free_port()
    server = {"start_command": f"{sys.executable} -m http.server {port}", "server_port": port}
    ends = dict.fromkeys(("predict_endpoint", "readiness_endpoint", "liveness_endpoint"), "/")
    config["docker_server"] = {**server, **ends}
    host = start_host(None, yaml.safe_dump(config), {"requirements.txt": ""})
    assert yaml.safe_load(host.http.get("/config.yaml").text) == config

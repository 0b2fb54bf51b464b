"""A corpus of configs with the keys that public Truss examples combine, and values of ours: each is taken, its limits said, or refused by name.

test_config_against_truss.py has each key alone, with good and bad values. Here they stand together as in real files: a
family (what serves the model), what it is built from, and the rest, in any order.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.packages.package import Package, PackageError
from tests.unit.deployments.test_config_against_truss import refused_by_truss

Config = dict[str, Any]
MODEL = "class Model:\n    def predict(self, x):\n        return x\n"
CONFIGS = 210

FAMILIES: dict[str, Config] = {
    "a Model class": {},
    "a Model class elsewhere": {"model_module_dir": "code", "model_class_filename": "main.py"},
    "a custom server": {
        "base_image": {"image": "registry.example/server:1"},
        "docker_server": {
            "start_command": "sh -c 'serve --port 8000'", "server_port": 8000,
            "predict_endpoint": "/v1/chat/completions", "readiness_endpoint": "/health",
            "liveness_endpoint": "/health",
        },
    },
    "a websocket": {"runtime": {"is_websocket_endpoint": True, "transport": {
        "kind": "websocket", "ping_interval_seconds": None, "ping_timeout_seconds": None}}},
    "a server over gRPC": {
        "docker_server": {"start_command": "serve", "server_port": 50051, "predict_endpoint": "/",
                          "readiness_endpoint": "/", "liveness_endpoint": "/"},
        "runtime": {"transport": {"kind": "grpc"}},
    },
    "an engine": {"trt_llm": {"build": {"base_model": "decoder", "checkpoint_repository": {"source": "HF", "repo": "a/b"}}}},
}  # fmt: skip
MORE: list[Config] = [
    {"description": "A model."},
    {"model_metadata": {"tags": ["openai-compatible"], "example_model_input": {"prompt": "x"}, "avatar_url": "", "pretty_name": "M"}},
    {"model_metadata": {}},
    {"python_version": "py311"},
    {"requirements": ["pip", "setuptools"]},
    {"requirements": []},
    {"requirements_file": "./requirements.txt"},
    {"resources": {"accelerator": "H100:2", "cpu": "3", "memory": "15Gi", "use_gpu": True}},
    {"resources": {"accelerator": None, "cpu": "500m", "memory": "512Mi", "use_gpu": False}},
    {"resources": {"accelerator": "L4", "use_gpu": True}},
    {"resources": {"instance_type": "H100:8x80"}},
    {"system_packages": ["ffmpeg", "libsm6"]},
    {"system_packages": []},
    {"environment_variables": {"HF_HUB_ENABLE_HF_TRANSFER": "1", "DEBUG": False}},
    {"environment_variables": {}},
    {"environment_variables": {"PORT": "8000"}},
    {"secrets": {"hf_access_token": None}},
    {"secrets": {"hf_access_token": "null", "other": None}},
    {"secrets": {}},
    {"external_package_dirs": []},
    {"data_dir": "data"},
    {"build_commands": ["git clone https://example.com/a.git"]},
    {"build_commands": []},
    {"base_image": {"image": "registry.example/python:3.11", "python_executable_path": "/usr/bin/python3"}},
    {"runtime": {"predict_concurrency": 256}},
    {"runtime": {"predict_concurrency": 1, "num_workers": 1}},
    {"runtime": {"health_checks": {"restart_check_delay_seconds": 600, "restart_threshold_seconds": 600,
                                   "stop_traffic_threshold_seconds": 300}}},
    {"runtime": {"truss_server_version_override": "0.9.60"}},
    {"build": {"secret_to_path_mapping": {"hf_access_token": "/root/.token"}}},
    {"model_cache": [{"repo_id": "a/b", "revision": "main", "use_volume": True, "volume_folder": "b",
                      "allow_patterns": ["*.json"], "ignore_patterns": ["*.bin"], "runtime_secret_name": "hf_access_token"}]},
    {"model_cache": [{"repo_id": "gs://a/b", "kind": "gcs", "use_volume": False}]},
    {"external_data": [{"url": "https://example.com/a.bin", "local_data_path": "a.bin"}]},
    {"weights": [{"source": "hf://a/b@main", "mount_location": "/models/b", "auth_secret_name": "hf_access_token",
                  "ignore_patterns": ["*.bin"]}]},
    {"weights": [{"source": "s3://a/b", "mount_location": "/models/b",
                  "auth": {"auth_method": "CUSTOM_SECRET", "auth_secret_name": "s3"}}]},
]  # fmt: skip
CANNOT_MEET = ({"model_cache", "weights"}, {"requirements", "requirements_file"})


def given(value: object) -> bool:
    return value not in (None, [], {})


@dataclass(frozen=True)
class Fate:
    """What is to be said of a key whose value `when` holds for; `where` is the place below the top."""

    where: str
    said: str
    when: Callable[[Any], bool] = given


REFUSED = [
    Fate("trt_llm", "needs Baseten's engine builder"),
    Fate("external_data", "is not downloaded by Kingpost"),
    Fate("resources.instance_type", "is a machine size of Baseten's"),
    Fate("runtime.transport.kind", "grpc is not supported", lambda v: v == "grpc"),
]
LIMITED = [
    Fate("base_image", "is not used: Kingpost builds no image"),
    Fate("build_commands", "are not run"),
    Fate("system_packages", "are not installed"),
    Fate("environment_variables", "has PORT or HOSTNAME", lambda v: bool(v) and "PORT" in v),
    Fate("resources.accelerator", "counts GPUs only"),
    Fate("resources.cpu", "is not enforced"),
    Fate("build.secret_to_path_mapping", "is not used"),
    Fate("docker_server.start_command", "names its port itself", lambda v: bool(v)),
    Fate("runtime.truss_server_version_override", "is not used"),
]


def at(config: Config, where: str) -> Any:
    value: Any = config
    for name in where.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def of(config: Config, fates: list[Fate]) -> list[Fate]:
    return [
        fate
        for fate in fates
        if fate.when(at(config, fate.where)) and given(at(config, fate.where))
    ]


def generated(seed: int) -> Config:
    """One config: a family and some of the rest, keys in any order; every family and every entry comes often."""
    draw = random.Random(seed)
    family = list(FAMILIES)[seed % len(FAMILIES)]
    config: Config = {"model_name": f"Example {seed}"}
    chosen = [MORE[seed % len(MORE)], *draw.sample(MORE, draw.randint(2, 12))]
    for part in (FAMILIES[family], *chosen):
        for name, value in part.items():
            if isinstance(value, dict) and name in ("resources", "runtime"):
                config[name] = {**value, **config.get(name, {})}
            elif not any(name in pair and pair & config.keys() - {name} for pair in CANNOT_MEET):
                config.setdefault(name, value)
    names = list(config)
    draw.shuffle(names)
    return {name: config[name] for name in names}


def write(folder: Path, config: Config) -> Path:
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (folder / "requirements.txt").write_text("pip\n")
    model = folder / config.get("model_module_dir", "model")
    model.mkdir(exist_ok=True)
    (model / config.get("model_class_filename", "model.py")).write_text(MODEL)
    return folder


def names_each(said: str, fates: list[Fate], config: Config) -> None:
    """The first in the file is explained, the others are named, and each has its option."""
    by_place = sorted(fates, key=lambda fate: list(config).index(fate.where.partition(".")[0]))
    first = by_place[0]
    assert said.startswith(f"{first.where} {first.said}"), said
    assert "\n" not in said
    for fate in by_place:
        assert f"--allow-unsupported {fate.where}" in said
    others = re.search(r"Refused as well: ([^ ]+(?:, [^ ]+)*)\.", said)
    named = others[1].split(", ") if others else []
    assert sorted(named) == sorted(fate.where for fate in by_place[1:])


@pytest.mark.parametrize("family", FAMILIES)
def test_each_is_taken_with_its_limits_said_or_refused_by_its_key(
    tmp_path: Path, family: str
) -> None:
    for seed in range(list(FAMILIES).index(family), CONFIGS, len(FAMILIES)):
        config = generated(seed)
        (folder := tmp_path / str(seed)).mkdir()
        write(folder, config)
        refused, limited = of(config, REFUSED), of(config, LIMITED)
        if refused:
            with pytest.raises(PackageError) as error:
                Package.accept(folder)
            names_each(str(error.value), refused, config)
        allowed = [fate.where for fate in refused]
        package = Package.accept(folder, allowed)
        for fate in (*refused, *limited):
            (said,) = [w for w in package.warnings if w.startswith(f"{fate.where} ")]
            assert fate.said in said
            assert said.endswith("(allowed by --allow-unsupported)") == (fate.where in allowed)
        assert len(package.warnings) == len(refused) + len(limited), package.warnings
        honoured(package, config)


def test_the_corpus_has_every_refusal_and_every_limit_and_files_with_neither() -> None:
    fates = [of(generated(seed), [*REFUSED, *LIMITED]) for seed in range(CONFIGS)]
    assert {fate.where for met in fates for fate in met} == {f.where for f in (*REFUSED, *LIMITED)}
    assert sum(not any(fate in REFUSED for fate in met) for met in fates) > CONFIGS // 10


def honoured(package: Package, config: Config) -> None:
    """What the host works with is what the file says."""
    runtime, server = config.get("runtime", {}), config.get("docker_server")
    assert package.model_name == config["model_name"]
    assert package.requirements == tuple(config.get("requirements", ()))
    assert package.runtime.predict_concurrency == runtime.get("predict_concurrency", 1)
    assert package.runtime.transport.kind == at(config, "runtime.transport.kind") or "http"
    assert package.environment_variables.keys() == config.get("environment_variables", {}).keys()
    assert package.config.get("model_metadata", {}) == config.get("model_metadata", {})
    assert package.config.get("secrets", {}) == config.get("secrets", {})
    assert (package.docker_server and package.docker_server.start_command) == (
        server and server["start_command"]
    )


def test_truss_takes_each_of_them_too() -> None:
    """So that the corpus is made of files that one could push to Baseten; engines apart, whose weights Truss looks up."""
    for seed in range(CONFIGS):
        config = generated(seed)
        config.get("runtime", {}).pop("num_workers", None)  # its reader takes it, its push does not
        if "trt_llm" not in config:
            assert not (said := refused_by_truss(config)), (config, said)

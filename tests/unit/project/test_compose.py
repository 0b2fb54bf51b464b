"""docker-compose.yml as far as it can be checked without an engine."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from cli.lazily import WHERE

ROOT = Path(__file__).parents[3]
FILE = ROOT / "docker-compose.yml"
SERVICES: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
OBSERVING = {name for name, service in SERVICES.items() if service.get("profiles") == ["observe"]}
OURS = sorted(set(SERVICES) - {"redis"} - OBSERVING)


@pytest.mark.parametrize("name", OURS)
def test_a_service_runs_a_command_that_exists(name: str) -> None:
    command = SERVICES[name]["command"]
    assert command[0] in WHERE
    folders = [word for word in command[1:] if word.startswith("models/")]
    assert all((ROOT / folder / "config.yaml").exists() for folder in folders)
    assert bool(folders) == (command[0] == "push")


def test_one_node_runs_the_models_where_the_api_sees_their_sockets() -> None:
    assert [name for name in OURS if SERVICES[name]["command"] == ["node"]] == ["node"]
    assert not [name for name in OURS if SERVICES[name]["command"][0] == "replica"]
    assert SERVICES["node"]["volumes"] == SERVICES["api"]["volumes"]


def test_every_model_of_the_image_is_pushed() -> None:
    ours = {f"models/{path.parent.name}" for path in ROOT.glob("models/*/config.yaml")}
    assert set(SERVICES["models"]["command"][2:]) == ours


def test_what_the_image_has_is_what_the_services_need() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert {line.split()[1] for line in dockerfile.splitlines() if line.startswith("COPY")} >= {
        "models", "workers", "deployments", "api", "cli", "tasks", "priority",
    }  # fmt: skip


@pytest.mark.parametrize("name", OURS)
def test_a_service_is_locked_down(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_redis_is_durable_and_not_published() -> None:
    command = " ".join(SERVICES["redis"]["command"])
    assert "--appendonly yes --appendfsync always --maxmemory-policy noeviction" in command
    assert "ports" not in SERVICES["redis"]


@pytest.mark.parametrize("name", sorted(OBSERVING))
def test_what_observes_is_not_published_and_finds_its_files(name: str) -> None:
    service = SERVICES[name]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    volumes: list[str] = service.get("volumes", [])
    paths = [volume.split(":")[0] for volume in volumes if volume.startswith("./")]
    assert all((ROOT / path).exists() for path in paths)


def test_grafana_reads_what_the_profile_starts() -> None:
    sources = yaml.safe_load((ROOT / "deploy/observe/grafana/datasources.yml").read_text())
    hosts = {urlsplit(source["url"]).hostname for source in sources["datasources"]}
    assert hosts == OBSERVING - {"grafana"}


@pytest.mark.parametrize("name", OURS)
def test_every_part_can_be_traced_and_is_not_unless_asked(name: str) -> None:
    variables = SERVICES[name]["environment"]
    assert variables["OTEL_EXPORTER_OTLP_ENDPOINT"] == "${OTEL_EXPORTER_OTLP_ENDPOINT:-}"
    assert variables["OTEL_TRACES_SAMPLER_ARG"] == "${OTEL_TRACES_SAMPLER_ARG:-0.01}"


def test_the_image_does_not_run_as_root_and_leaves_behind_what_built_it() -> None:
    _, build, run = (ROOT / "Dockerfile").read_text().split("\nFROM ")
    assert "USER kingpost" in run and "pip" not in run
    assert "COPY --from=build" in run and " AS build" in build


def test_the_image_installs_what_is_needed_before_the_source() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    order = [
        next(number for number, line in enumerate(lines) if line.startswith(beginning))
        for beginning in (
            "COPY constraints.txt",
            "COPY pyproject.toml",
            "COPY README.md",
            "RUN pip install --no-deps",
        )
    ]
    assert order == sorted(order)


@pytest.mark.parametrize("extra", ["server", "models"])
def test_what_the_image_installs_is_what_the_extra_needs(extra: str) -> None:
    command = [sys.executable, "deploy/requirements.py", extra]
    lines = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    own = [
        line for line in project["optional-dependencies"][extra] if not line.startswith("kingpost[")
    ]
    assert {*own, *project["dependencies"], *project["optional-dependencies"]["server"]} == set(
        lines
    )


def test_the_file_for_gpus_changes_a_service_that_is_there() -> None:
    more = yaml.safe_load((ROOT / "deploy" / "compose.gpu.yml").read_text())["services"]
    assert set(more) == {"node"} <= set(SERVICES)
    arguments = set(more["node"]["build"]["args"])
    assert arguments <= set(re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(), re.M))


def test_compose_accepts_the_file() -> None:
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("no docker compose client here")
    environment = {"REDIS_PASSWORD": "x", "KINGPOST_API_KEY": "y" * 16, "PATH": "/usr/bin:/bin"}
    command = [docker, "compose", "-f", str(FILE), "config", "-q"]
    subprocess.run(command, check=True, env=environment)

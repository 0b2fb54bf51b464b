"""The Kubernetes manifests: valid by Kubernetes' own schema, and about commands and metrics that exist."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from cli.lazily import WHERE
from tasks.process.listening import ports
from tasks.process.variables import PREFIX
from tasks.settings import Settings

FOLDER = Path(__file__).parents[3] / "deploy" / "kubernetes"
KUSTOMIZATIONS = sorted(path.parent for path in FOLDER.rglob("kustomization.yaml"))
DOCUMENTS = [
    pytest.param(document, id=f"{path.stem}-{document['kind']}-{document['metadata']['name']}")
    for path in sorted(FOLDER.rglob("*.yaml"))
    if path.name != "kustomization.yaml"
    for document in yaml.safe_load_all(path.read_text())
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_manifest_is_valid(document: dict[str, Any]) -> None:
    if document["apiVersion"].startswith("keda.sh"):
        assert document["kind"] in ("ScaledObject", "TriggerAuthentication")  # not Kubernetes' own
    else:
        kubernetes_validate.validate(document, "1.31", strict=True)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_its_containers_run_commands_that_exist(document: dict[str, Any]) -> None:
    commands = set(WHERE)
    template = document["spec"].get("template", {}).get("spec", {}) if "spec" in document else {}
    for container in template.get("containers", []):
        if container["image"].startswith("kingpost"):
            assert container["args"][0] in commands


def test_keda_asks_for_a_metric_that_is_there() -> None:
    (scaled,) = [
        document.values[0] for document in DOCUMENTS if document.values[0]["kind"] == "ScaledObject"
    ]  # type: ignore[index]
    metric = scaled["spec"]["triggers"][0]["metadata"]["valueLocation"]
    assert f"| `{metric}` | gauge |" in (FOLDER.parents[1] / "docs" / "observing.md").read_text()


@pytest.mark.parametrize("folder", KUSTOMIZATIONS, ids=lambda folder: folder.name)
def test_a_kustomization_names_files_that_are_there(folder: Path) -> None:
    said = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert said["resources"]
    assert [name for name in said["resources"] if not (folder / name).exists()] == []
    patched = {
        (patch["target"]["kind"], patch["target"]["name"]) for patch in said.get("patches", [])
    }
    known = {
        (document.values[0]["kind"], document.values[0]["metadata"]["name"])
        for document in DOCUMENTS
    }  # type: ignore[index]
    assert patched <= known


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl here")
@pytest.mark.parametrize("folder", KUSTOMIZATIONS, ids=lambda folder: folder.name)
def test_kustomize_builds_valid_manifests(folder: Path) -> None:
    command = ["kubectl", "kustomize", str(folder)]
    built = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    documents = [
        document for document in yaml.safe_load_all(built) if "keda" not in document["apiVersion"]
    ]
    for document in documents:
        kubernetes_validate.validate(document, "1.31", strict=True)
    (node,) = [
        document
        for document in documents
        if document["metadata"]["name"] == "kingpost-node" and document["kind"] == "Deployment"
    ]
    limits = node["spec"]["template"]["spec"]["containers"][0]["resources"].get("limits", {})
    assert ("nvidia.com/gpu" in limits) == (folder.name != "base")


def test_no_pod_may_do_more_than_it_must() -> None:
    pods = _pods_of("kingpost", "kingpost-node", "kingpost-maintenance", "kingpost-valkey")
    assert len(pods) == 4
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            claimed = {volume["name"] for volume in pod.get("volumes", [])} | {"data"}
            assert mounted <= claimed


def test_the_secret_has_every_key_that_is_asked_for() -> None:
    texts = "".join(path.read_text() for path in FOLDER.rglob("*.yaml"))
    asked = set(re.findall(r"name: kingpost, key: ([\w-]+)", texts))
    (secret,) = [
        document.values[0] for document in DOCUMENTS if document.values[0]["kind"] == "Secret"
    ]  # type: ignore[index]
    assert asked == set(secret["stringData"])


def test_the_pods_run_what_compose_runs() -> None:
    compose = yaml.safe_load((FOLDER.parents[1] / "docker-compose.yml").read_text())["services"]
    for app, service in {
        "kingpost": "api",
        "kingpost-node": "node",
        "kingpost-maintenance": "maintenance",
    }.items():
        (pod,) = _pods_of(app)
        assert pod["containers"][0]["args"] == compose[service]["command"]


def _pods_of(*apps: str) -> list[dict[str, Any]]:
    found = [
        document.values[0]["spec"].get("template", {})
        for document in DOCUMENTS
        if "spec" in document.values[0]
    ]  # type: ignore[index]
    return [
        document["spec"]
        for document in found
        if document and document["metadata"]["labels"]["app"] in apps
    ]


def test_no_pod_of_ours_gets_the_variables_of_services() -> None:
    pods = _pods_of("kingpost", "kingpost-node", "kingpost-maintenance")
    assert len(pods) == 3
    assert all(pod["enableServiceLinks"] is False for pod in pods)


def test_the_api_reaches_the_nodes_and_nobody_else_does() -> None:
    (node,) = _pods_of("kingpost-node")
    environment = {variable["name"]: variable for variable in node["containers"][0]["env"]}
    assert (
        environment["KINGPOST_HOST_ADDRESS"]["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIP"
    )
    opened = ports(environment["KINGPOST_HOST_PORTS"]["value"])
    (policy,) = [
        document.values[0]["spec"]
        for document in DOCUMENTS
        if document.values[0]["kind"] == "NetworkPolicy"
    ]  # type: ignore[index]
    assert policy["podSelector"]["matchLabels"] == {"app": "kingpost-node"}
    (rule,) = policy["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app": "kingpost"}}}]
    (allowed,) = rule["ports"]
    assert range(allowed["port"], allowed["endPort"] + 1) == opened
    assert len(opened) >= Settings().node_slots


def test_every_variable_of_the_manifests_is_a_setting() -> None:
    names = {variable["name"] for pod in _pods_of("kingpost", "kingpost-node", "kingpost-maintenance")
             for container in pod["containers"] for variable in container.get("env", [])}  # fmt: skip
    maps = [
        document.values[0] for document in DOCUMENTS if document.values[0]["kind"] == "ConfigMap"
    ]  # type: ignore[index]
    names |= {name for config_map in maps for name in config_map["data"]}
    assert {name for name in names if name.startswith(PREFIX)} <= {
        PREFIX + name.upper() for name in Settings.model_fields
    }

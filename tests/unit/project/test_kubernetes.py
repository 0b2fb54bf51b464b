"""The Kubernetes manifests: valid by Kubernetes' own schema, and about commands and metrics that exist."""

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
DOCUMENTS = [
    pytest.param(document, id=f"{path.stem}-{document['kind']}-{document['metadata']['name']}")
    for path in sorted(FOLDER.glob("*.yaml"))
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
    assert names <= {PREFIX + name.upper() for name in Settings.model_fields}

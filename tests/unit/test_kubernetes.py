"""The Kubernetes manifests: valid by Kubernetes' own schema, and about commands and metrics that exist."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from typer.main import get_command

from cli.main import app

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
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
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    template = document["spec"].get("template", {}).get("spec", {}) if "spec" in document else {}
    for container in template.get("containers", []):
        if container["image"].startswith("kingpost"):
            assert container["args"][0] in commands


def test_keda_asks_for_a_metric_that_is_there() -> None:
    (scaled,) = [one.values[0] for one in DOCUMENTS if one.values[0]["kind"] == "ScaledObject"]  # type: ignore[index]
    metric = scaled["spec"]["triggers"][0]["metadata"]["valueLocation"]
    source = (FOLDER.parents[1] / "api" / "routes_metrics.py").read_text()
    assert f'"{metric}"' in source

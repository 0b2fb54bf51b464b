"""A wrong import turns `make check` red, in each direction: a contract that nobody could break would hold nothing."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("api", "cli", "deployments", "kingpost", "priority", "tasks", "workers")

# Who imports whom against the arrows, and the contract that says so.
WRONG = [
    ("tasks/job.py", "import deployments.packages.names", "Imports point one way"),
    ("deployments/registry/keys.py", "import workers.wire", "Imports point one way"),
    ("api/app.py", "import workers.wire", "Imports point one way"),
    ("workers/wire/messages.py", "import api.app", "Imports point one way"),
    ("workers/wire/messages.py", "import workers.processes.ends", "Rooms of the workers"),
    ("workers/hosting/client.py", "import workers.replica.main", "Rooms of the workers"),
    ("workers/node/main.py", "import workers.replica.main", "Rooms of the workers"),
    ("workers/gate/gate.py", "import workers.hosting.client", "Rooms of the workers"),
    ("workers/host/main.py", "import tasks.store.job_store", "The model host knows neither"),
    ("workers/host/call/call.py", "import workers.replica.main", "The model host knows neither"),
    ("workers/replica/main.py", "import workers.host.main", "Only the model host imports"),
    ("cli/main.py", "import workers.host.model.loader", "Only the model host imports"),
    ("deployments/config/schema.py", "import deployments.packages.package", "Rooms of deployments"),
    (
        "deployments/registry/verbs.py",
        "import deployments.packages.package",
        "Rooms of deployments",
    ),
    (
        "deployments/http_client/exchange.py",
        "import deployments.registry.keys",
        "Rooms of deployments",
    ),
    ("tasks/store/verbs.py", "import tasks.webhooks.sender", "Rooms of tasks"),
    ("tasks/process/logs.py", "import tasks.store.keys", "Rooms of tasks"),
    ("api/upstream/hosts.py", "import api.routes.result", "Routes call replicas"),
    ("cli/stack/up.py", "import cli.commands.deploy", "Commands use the stack"),
    ("kingpost/client.py", "import tasks.errors", "The client needs nothing"),
    ("workers/replica/main.py", "import torch", "imports torch"),
    ("api/app.py", "import truss", "Only the build of chains"),
]


def lint(folder: Path) -> dict[str, str]:
    """Each contract's name and what became of it: KEPT or BROKEN."""
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as run; run()",
        "--no-cache",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    plain = re.sub(r"\x1b\[[\d;]*m", "", done.stdout)
    return {
        name.strip(): fate
        for name, fate in re.findall(r"^(.+) (KEPT|BROKEN)$", plain, re.MULTILINE)
    }


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The product's code alone."""
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_contract_is_kept_and_can_be_broken(tree: Path) -> None:
    kept = lint(tree)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    assert kept == {contract["name"]: "KEPT" for contract in contracts}
    for path, line, _ in WRONG:
        module = tree / path
        module.write_text(module.read_text() + f"\n\ndef _wrong() -> None:\n    {line}\n")
    assert lint(tree) == dict.fromkeys(kept, "BROKEN")


@pytest.mark.slow
@pytest.mark.parametrize(("path", "line", "contract"), WRONG)
def test_each_wrong_import_breaks_its_contract(
    tree: Path, path: str, line: str, contract: str
) -> None:
    module = tree / path
    module.write_text(module.read_text() + f"\n\ndef _wrong() -> None:\n    {line}\n")
    broken = [name for name, fate in lint(tree).items() if fate == "BROKEN"]
    assert any(contract in name for name in broken), broken

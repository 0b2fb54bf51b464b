"""Chains: a folder with a `truss_chains` file becomes one package for each chainlet.

The generator imports the user's file and `truss_chains`, so it runs in a separate process. This module only reads the files
that it writes.
"""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from deployments.packages.package import Package
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment
from kingpost.packing.config_file import CONFIG_NAME, PackageError
from kingpost.packing.files import folder_hash
from tasks.process.programs import with_users_modules
from tasks.process.variables import inherited_variables
from tasks.store.job_store import JobStore

MEMBER_FILE = "chainlet.json"  # beside a generated config.yaml
BUILD_SECONDS = 300.0  # an import of the user's file, which may import torch
ENTRYPOINT = re.compile(r"^@(?:\w+\.)?mark_entrypoint\b", re.M)


@dataclass(frozen=True)
class Member:
    """The place of a chainlet's package in its chain. `peers` maps display names to the names under which they are called."""

    chain: str
    kind: Literal["chain", "chainlet"]  # the entrypoint stands for the chain
    peers: Mapping[str, str]
    process: str = (
        ""  # the chain's name for the process that it shares with others; '' = it is alone
    )
    # The folders of all chainlets in that process. A chainlet comes before those that it calls, and the first one leads.
    shares: tuple[str, ...] = ()

    def write(self, package: Path) -> None:
        """Writes it to MEMBER_FILE in that package."""
        (package / MEMBER_FILE).write_text(json.dumps(asdict(self), indent=2))


def member_of(package: Package) -> Member | None:
    """The package's place in its chain, None for a plain model."""
    file = package.root / MEMBER_FILE
    if not file.is_file():
        return None
    member = Member(**json.loads(file.read_text()))
    return replace(member, shares=tuple(member.shares))


def process_of(package: Package) -> list[Package]:
    """The packages that share a process with this one, the leader first. Most packages are alone. Raises PackageError."""
    member = member_of(package)
    if member is None or not member.shares:
        return [package]
    return [Package.load(package.root.parent / name) for name in member.shares]


def processes(packages: Sequence[Package]) -> list[list[Package]]:
    """The packages grouped by process, the leader of each first."""
    return [
        process for package in packages if (process := process_of(package))[0].root == package.root
    ]


def register(store: JobStore, process: Sequence[Package]) -> list[Deployment]:
    """The deployments for the folders of one process. The replicas of its leader serve all of them."""
    deployments: list[Deployment] = []
    for package in process:
        member = member_of(package)
        call = registry.register(
            package.model_name,
            str(package.root),
            folder_hash(package.root),
            package.slots,
            member.kind if member else "model",
            package.gpus,
            package.gpu_memory,
            deployments[0].id if deployments else "",
            package.warnings,
            package.runtime.served_model_names,
            package.fixed_port,
        )
        deployments.append(store.run(call))
        if deployments[-1].kind == "chain" and package.root.name != package.model_name:
            entrypoint = package.root.name
            store.run(registry.alias(entrypoint, deployments[-1].model_id))
    return deployments


def chain_file(folder: Path) -> Path | None:
    """The file with the entrypoint, None if the folder is not a chain. Raises PackageError for two entrypoints."""
    if (folder / CONFIG_NAME).exists():
        return None
    found = [path for path in sorted(folder.glob("*.py")) if _marks_entrypoint(path)]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise PackageError(
            f"A chain has one entrypoint, but {names} each mark one; keep one mark only."
        )
    return found[0] if found else None


def build(file: Path, out: Path) -> list[Package]:
    """Generates a package for each chainlet below `out`, whose content it replaces. Raises PackageError."""
    if importlib.util.find_spec("truss_chains") is None:
        raise PackageError("Chains need the extra `chains`: pip install 'kingpost[chains]'.")
    fresh = out.with_name(out.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    (fresh / "tmp").mkdir(parents=True)
    _generate(file, fresh)
    shutil.rmtree(fresh / "tmp")
    shutil.rmtree(out, ignore_errors=True)
    fresh.rename(out)
    return [Package.load(path.parent) for path in sorted(out.glob(f"*/{MEMBER_FILE}"))]


def _generate(file: Path, out: Path) -> None:
    command = [*with_users_modules("workers.chains.build"), str(file), str(out)]
    inherited = inherited_variables()
    programs = f"{Path(sys.executable).parent}:{inherited.get('PATH', '')}"  # the generator runs ruff by its name
    # The generator makes a folder in TMPDIR that has the chain's name, so two stacks would share it.
    env = inherited | {"PATH": programs, "TMPDIR": str(out / "tmp")}
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=BUILD_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise PackageError(f"{file.name} was not imported within {BUILD_SECONDS:g} s.") from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise PackageError(lines[-1] if lines else f"exit code {done.returncode}")


def _marks_entrypoint(path: Path) -> bool:
    text = path.read_text(errors="replace")
    return "truss_chains" in text and ENTRYPOINT.search(text) is not None

"""What a package asks of a machine and this one does not have: a GPU, a Python."""

import sys

from deployments.config_fates import Finding
from deployments.package import Package
from deployments.requirements import Requirements
from tasks.settings import Settings
from workers.capacity import Capacity
from workers.environment_build import find_python


def machine_findings(settings: Settings, package: Package) -> list[Finding]:
    """Each a refusal that can be allowed. Raises PackageError and SettingsError."""
    said = (_python(package, settings), _gpus(package, settings))
    return [one for one in said if one]


def _python(package: Package, settings: Settings) -> Finding | None:
    wanted, ours = package.python_version, sys.version_info
    if wanted in (None, f"py{ours.major}{ours.minor}") or package.docker_server:
        return None
    version = f"{ours.major}.{ours.minor}"
    if Requirements.of(package) is None or settings.own_environments == "never":
        why = f"a package without requirements runs in Kingpost's own Python {version}"
        instead = "list a requirement, which makes an environment of its own, or say "
        return _refused("python_version", f"is {wanted}, but {why}; {instead}py3{ours.minor}.")
    _, warning = find_python(wanted)
    if warning is None:
        return None
    why = (
        f"is {wanted}, which is not on the PATH of this machine or older than the model host needs"
    )
    return _refused("python_version", f"{why}; install it, or say py3{ours.minor}.")


def _gpus(package: Package, settings: Settings) -> Finding | None:
    if not package.gpus:
        return None
    there = len(Capacity.of(settings).devices)
    if package.gpus <= there:
        return None
    asked = f"asks for {package.gpus} GPU{'s' if package.gpus > 1 else ''}"
    has = f"this machine has {there or 'none'}"
    instead = "set KINGPOST_NODE_GPUS to what the node has (0=80Gi,1=80Gi)"
    return _refused("resources.accelerator", f"{asked}, and {has}; {instead}.")


def _refused(key: str, said: str) -> Finding:
    return Finding(key, "refused", f"{key} {said}")

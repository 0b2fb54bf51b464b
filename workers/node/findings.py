"""Finds what a package needs and this machine does not have: a GPU or a Python version."""

from deployments.config.fates import Finding
from deployments.packages.package import Package
from tasks.settings import Settings
from workers.node.capacity import Capacity
from workers.virtualenvs.pythons import OURS, PythonMissing, find_python, other_python


def machine_findings(settings: Settings, package: Package) -> list[Finding]:
    """The findings. Each refuses a push, unless `--allow-unsupported` allows it. Raises PackageError and SettingsError."""
    findings = (_python(package, settings), _gpus(package, settings))
    return [finding for finding in findings if finding]


def _python(package: Package, settings: Settings) -> Finding | None:
    wanted = other_python(package)
    if wanted is None:
        return None
    if settings.own_virtualenvs == "never":
        why = "KINGPOST_OWN_VIRTUALENVS=never keeps all models in the worker's own Python"
        return _refusal("python_version", f"is {wanted}, but {why}; set it to {OURS}.")
    try:
        find_python(wanted)
    except PythonMissing as error:
        return Finding("python_version", "refused", str(error))
    return None


def _gpus(package: Package, settings: Settings) -> Finding | None:
    if not package.gpus:
        return None
    available = len(Capacity.of(settings).devices)
    if package.gpus <= available:
        return None
    asked = f"asks for {package.gpus} GPU{'s' if package.gpus > 1 else ''}"
    has = f"this machine has {available or 'none'}"
    instead = "set KINGPOST_NODE_GPUS to what the node has (0=80Gi,1=80Gi)"
    return _refusal("resources.accelerator", f"{asked}, and {has}; {instead}.")


def _refusal(key: str, predicate: str) -> Finding:
    return Finding(key, "refused", f"{key} {predicate}")

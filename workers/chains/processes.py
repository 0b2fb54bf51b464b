"""Finds out which chainlets share a process, and whether they can: `metadata={"kingpost": {"process": NAME}}` in their options.

Truss accepts any metadata and ignores it, so the same file also deploys to Baseten.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from deployments.packages.package import Package, PackageError
from deployments.packages.requirements import Requirements

OURS = "kingpost"
NAME = re.compile(r"[a-zA-Z0-9_-]+")  # what Truss allows in a chainlet's name


def process_name(chainlet: str, metadata: object) -> str:
    """The process that a chainlet shares, '' if it has its own. Raises PackageError for wrong metadata."""
    ours: object = None
    if isinstance(metadata, Mapping):
        ours = cast("Mapping[str, object]", metadata).get(OURS)
    if ours is None:
        return ""
    name: object = None
    if isinstance(ours, Mapping):
        values = cast("Mapping[str, object]", ours)
        name = values.get("process") if list(values) == ["process"] else None
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise PackageError(
            f"{chainlet}: metadata['{OURS}'] must be like {{'process': 'small'}}, not {ours!r}."
        )
    return name


def check(process: str, packages: Sequence[Package]) -> None:
    """Raises PackageError if the packages cannot share a process."""
    first = packages[0]
    for other in packages[1:]:
        for what, value_of in SAME.items():
            if value_of(first) != value_of(other):
                names = f"{first.model_name} and {other.model_name}"
                raise PackageError(
                    f"{names} cannot share the process {process!r}, because their {what} differ; "
                    "make them the same, or give one of the two another process in its metadata."
                )


def _requirements(package: Package) -> object:
    wanted = Requirements.of(package)
    if wanted is None:
        return None
    content = wanted.file.read_bytes() if wanted.file and wanted.kind != "file" else b""
    return wanted.kind, wanted.lines, content


def _images(package: Package) -> object:
    return package.python_version, package.config.get("base_image")


def _devices(package: Package) -> object:
    return package.resources.get("accelerator"), package.resources.get("instance_type")


def _variables(package: Package) -> object:
    return dict(package.environment_variables)


def _system_packages(package: Package) -> object:
    return package.config.get("system_packages")


def _external_packages(package: Package) -> object:
    return [str(folder) for folder in package.external_package_dirs]


SAME: Mapping[str, Callable[[Package], object]] = {  # what must not differ in one process
    "pip requirements": _requirements,
    "base images": _images,
    "system packages": _system_packages,
    "external packages": _external_packages,
    "devices": _devices,
    "environment variables": _variables,
}

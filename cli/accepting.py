"""Checks a folder before `push`, `watch` and `up` deploy it."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from deployments.config.check import check_allowed
from deployments.packages.package import Package
from kingpost.packing.config_file import PackageError, read_yaml
from kingpost.packing.files import files_of
from tasks.errors import SettingsError
from tasks.settings import Settings


def check_named(allowed: Sequence[str] | None, folders: Iterable[Path]) -> list[str]:
    """The keys of `--allow-unsupported`. Raises SettingsError for a key that neither the schema nor any folder has."""
    given: list[Mapping[str, object]] = []
    for folder in folders if allowed else ():
        with contextlib.suppress(PackageError, OSError):  # the folder's own check reports it later
            given.append(read_yaml(folder)[0])
    try:
        check_allowed(allowed or (), given)
    except PackageError as error:
        raise SettingsError(str(error)) from error
    return list(allowed or ())


def accepted(settings: Settings, folder: Path, allowed: Sequence[str]) -> Package:
    """The package in a folder. Raises PackageError if it would not run as its config.yaml asks, or a file cannot be stored."""
    from workers.node.findings import machine_findings

    package = Package.accept(folder, allowed, partial(machine_findings, settings))
    files_of(package.root)
    return package


def say_warnings(package: Package) -> None:
    """Prints the warnings of a package to stderr."""
    console = Console(stderr=True, highlight=False)
    for warning in package.warnings:
        console.print(
            f"{package.model_name}: {warning}", style="yellow", markup=False, soft_wrap=True
        )

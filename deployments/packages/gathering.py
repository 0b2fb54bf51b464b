"""Collects the files of a push. As in Truss, the content of `external_package_dirs` goes into the package's packages folder."""

from pathlib import Path
from typing import cast

import yaml

from deployments.config.values import CONFIG_NAME, PackageError, read_yaml
from deployments.packages.files import Selection, files_of, selection_of
from deployments.packages.package import Package

MOST_FILES = 20_000  # of the folders outside
MOST_BYTES = 1 << 30


def gather(package: Package, max_file_bytes: int, scratch: Path) -> Selection:
    """The files of the package and of its `external_package_dirs`. Raises PackageError.

    The new config.yaml, which no longer names these folders, is written to `scratch`.
    """
    root = package.root.resolve()
    named = {path.relative_to(root).as_posix(): path for path in files_of(root, max_file_bytes)}
    outside = [folder for folder in package.external_package_dirs if not _lies_in(folder, root)]
    if outside:
        taken = _of_outside(package, outside, max_file_bytes)
        for name, path in taken.items():
            known = named.setdefault(name, path)
            if known is not path and known.read_bytes() != path.read_bytes():
                message = f"external_package_dirs: {path} would replace {name} of the package; rename one of them."
                raise PackageError(message)
        named[CONFIG_NAME] = _without(package, outside, scratch / CONFIG_NAME)
    return selection_of(root, named)


def _lies_in(folder: Path, root: Path) -> bool:
    return folder.resolve().is_relative_to(root)


def _of_outside(package: Package, outside: list[Path], max_file_bytes: int) -> dict[str, Path]:
    found: dict[str, Path] = {}
    size = 0
    for folder in outside:
        if _lies_in(package.root, folder.resolve()):
            message = f"external_package_dirs: {folder} holds the package itself; name a folder beside it."
            raise PackageError(message)
        root = folder.resolve()
        for path in files_of(root, max_file_bytes):
            name = f"{package.bundled_packages_dir}/{path.relative_to(root).as_posix()}"
            known = found.setdefault(name, path)
            if known is not path and known.read_bytes() != path.read_bytes():
                message = f"external_package_dirs: {known} and {path} would be the same file; rename one of them."
                raise PackageError(message)
            size += path.stat().st_size
            if len(found) > MOST_FILES or size > MOST_BYTES:
                message = f"external_package_dirs: {folder} is too large to be included: more than {MOST_FILES} files or 1 GiB."
                raise PackageError(message)
    return found


def _without(package: Package, outside: list[Path], to: Path) -> Path:
    """A config.yaml without the folders that are included, as Truss writes it."""
    raw, _ = read_yaml(package.root)
    given = cast("list[str]", package.config["external_package_dirs"])
    pairs = zip(given, package.external_package_dirs, strict=True)
    inside = [said for said, folder in pairs if folder not in outside]
    to.write_text(yaml.safe_dump({**raw, "external_package_dirs": inside}, allow_unicode=True))
    return to

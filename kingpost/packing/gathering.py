"""Collects the files of a push. As in Truss, the content of `external_package_dirs` goes into the package's packages folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import yaml

from kingpost.packing.config_file import CONFIG_NAME, PackageError, read_yaml
from kingpost.packing.files import Selection, files_of, selection_of

# The limits of all folders outside together. They stop a push that was given a home folder by mistake.
MOST_FILES = 20_000
MOST_BYTES = 1 << 30


def gather(folder: Path, max_file_bytes: int, scratch: Path) -> Selection:
    """The files of a package's folder and of its `external_package_dirs`. Raises PackageError.

    The new config.yaml, which no longer names these folders, is written to `scratch`.
    """
    root = folder.resolve()
    config, _ = read_yaml(root)
    named = {path.relative_to(root).as_posix(): path for path in files_of(root, max_file_bytes)}
    given = {said: root / said for said in _strings_under(config, "external_package_dirs")}
    outside = {said: path for said, path in given.items() if not _lies_in(path, root)}
    if outside:
        bundled = config.get("bundled_packages_dir") or "packages"
        taken = _files_outside(root, f"{bundled}", list(outside.values()), max_file_bytes)
        for name, path in taken.items():
            known = named.setdefault(name, path)
            if known is not path and known.read_bytes() != path.read_bytes():
                message = f"external_package_dirs: {path} would replace {name} of the package; rename one of them."
                raise PackageError(message)
        inside = [said for said in given if said not in outside]
        named[CONFIG_NAME] = _write_config(config, inside, scratch / CONFIG_NAME)
    return selection_of(root, named)


def _strings_under(config: Mapping[str, object], key: str) -> list[str]:
    """The strings in the list under this key. The check of config.yaml refuses anything else later, and names the key."""
    value = config.get(key)
    entries = cast("list[object]", value) if isinstance(value, list) else []
    return [entry for entry in entries if isinstance(entry, str)]


def _lies_in(folder: Path, root: Path) -> bool:
    return folder.resolve().is_relative_to(root)


def _files_outside(
    package: Path, bundled: str, outside: list[Path], max_file_bytes: int
) -> dict[str, Path]:
    """The files of folders outside the package, by the names that they get in it. Raises PackageError."""
    found: dict[str, Path] = {}
    size = 0
    for folder in outside:
        if not folder.is_dir():
            raise PackageError(f"external_package_dirs: {folder} is not a folder.")
        if _lies_in(package, folder.resolve()):
            message = f"external_package_dirs: {folder} holds the package itself; name a folder beside it."
            raise PackageError(message)
        root = folder.resolve()
        for path in files_of(root, max_file_bytes):
            name = f"{bundled}/{path.relative_to(root).as_posix()}"
            known = found.setdefault(name, path)
            if known is not path and known.read_bytes() != path.read_bytes():
                message = f"external_package_dirs: {known} and {path} would be the same file; rename one of them."
                raise PackageError(message)
            size += path.stat().st_size
            if len(found) > MOST_FILES or size > MOST_BYTES:
                message = f"external_package_dirs: {folder} is too large to be included: more than {MOST_FILES} files or 1 GiB."
                raise PackageError(message)
    return found


def _write_config(config: Mapping[str, object], inside: list[str], to: Path) -> Path:
    """Writes a config.yaml that names only the folders inside the package, as Truss does. Returns its path."""
    to.write_text(yaml.safe_dump({**config, "external_package_dirs": inside}, allow_unicode=True))
    return to

"""Selects the files of a folder for a package. It obeys ignore files and refuses links to the outside and large files."""

import contextlib
import hashlib
import os
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from pathspec import GitIgnoreSpec

from deployments.config.values import PackageError, read_text

IGNORE_FILES = (".kingpostignore", ".gitignore")  # the first that is there counts
NEVER = (".git/", "__pycache__/", ".venv/", ".kingpost/")


@dataclass(frozen=True)
class Selection:
    """The files of a package, in order, with their hash."""

    root: Path
    files: Mapping[str, Path]  # name in the package -> where it lies
    content_hash: str
    size: int  # bytes of all files

    def write_tar(self, out: IO[bytes]) -> None:
        """The files as a tar without owners and times, so that it is the same on every machine."""
        with tarfile.open(fileobj=out, mode="w|") as tar:
            for name, path in self.files.items():
                info = tarfile.TarInfo(name)
                info.size = path.stat().st_size
                info.mode = 0o755 if os.access(path, os.X_OK) else 0o644
                with path.open("rb") as content:
                    tar.addfile(info, content)


def selection_of(root: Path, named: Mapping[str, Path]) -> Selection:
    """The selection of these files under these names."""
    files = {name: named[name] for name in sorted(named, key=PurePosixPath)}
    return Selection(root, files, _hash(files), sum(p.stat().st_size for p in files.values()))


def files_of(root: Path, max_file_bytes: int = sys.maxsize) -> tuple[Path, ...]:
    """The files of a package, in order. Raises PackageError."""
    return tuple(sorted(_walk(root, _ignored(root), max_file_bytes)))


def folder_hash(root: Path) -> str:
    """The hash of what a push of that folder would take. Raises PackageError."""
    return content_hash(root, files_of(root))


def content_hash(root: Path, files: tuple[Path, ...]) -> str:
    """sha256 hex over relative paths and bytes."""
    return _hash({path.relative_to(root).as_posix(): path for path in sorted(files)})


def _hash(files: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, path in files.items():
        with path.open("rb") as content:
            of_file = hashlib.file_digest(content, "sha256").digest()
        digest.update(name.encode() + b"\0" + of_file)
    return digest.hexdigest()


Stamps = dict[str, tuple[int, int]]  # relative path -> time of the last change in ns, bytes


def stamps(root: Path) -> Stamps:
    """The stamps of the package's files. A changed stamp means a changed file."""
    found: dict[str, tuple[int, int]] = {}
    for path in files_of(root):
        with contextlib.suppress(FileNotFoundError):  # an editor's temporary file
            about = path.stat()
            found[path.relative_to(root).as_posix()] = (about.st_mtime_ns, about.st_size)
    return found


def all_stamps(root: Path, outside: Iterable[Path]) -> Stamps:
    """The stamps of the package's files, and of its `external_package_dirs` by their full paths."""
    found = stamps(root)
    for folder in outside:
        for name, stamp in stamps(folder).items() if folder.is_dir() else ():
            found[(folder.resolve() / name).as_posix()] = stamp
    return found


def _ignored(root: Path) -> GitIgnoreSpec:
    found = next((root / name for name in IGNORE_FILES if (root / name).is_file()), None)
    lines = read_text(found, found.name).splitlines() if found else []
    try:
        return GitIgnoreSpec.from_lines([*lines, *NEVER, *IGNORE_FILES])
    except ValueError as error:
        name = found.name if found else ""
        raise PackageError(f"{name} has a pattern that cannot be read: {error}") from None


def _walk(root: Path, spec: GitIgnoreSpec, max_file_bytes: int) -> Iterator[Path]:
    """The files, and the links to files of the package. Folders that are links are left out."""
    stack = [root]
    while stack:
        for path in sorted(stack.pop().iterdir()):
            name = _name(path, root)
            is_link = path.is_symlink()
            if spec.match_file(name + "/" if path.is_dir() else name):
                continue
            if is_link:
                _check_link(path, name, root)
            if path.is_dir():
                stack.append(path)
            elif path.is_file():
                _check_size(path, name, max_file_bytes)
                yield path
            else:
                raise PackageError(f"{name} is neither a file nor a folder; remove it.")


def _name(path: Path, root: Path) -> str:
    name = path.relative_to(root).as_posix()
    try:
        name.encode()
    except UnicodeEncodeError:
        raise PackageError(f"The file name {name!r} is not UTF-8; rename it.") from None
    return name


def _check_link(path: Path, name: str, root: Path) -> None:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        raise PackageError(f"{name} is a link to nothing or to itself; remove it.") from None
    if not target.is_relative_to(root):
        raise PackageError(f"{name} is a link out of the folder; copy its target into the folder.")
    if target.is_dir():
        raise PackageError(f"{name} is a link to a folder; copy that folder instead.")


def _check_size(path: Path, name: str, max_file_bytes: int) -> None:
    if (size := path.stat().st_size) > max_file_bytes:
        raise PackageError(
            f"{name} has {size} bytes, above the limit of {max_file_bytes}; "
            "download it in load(), or raise KINGPOST_MAX_PACKAGE_FILE_BYTES."
        )

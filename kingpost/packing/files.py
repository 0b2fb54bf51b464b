"""Selects the files of a folder for a package. It obeys ignore files and refuses links to the outside and large files."""

import contextlib
import hashlib
import os
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from pathspec import GitIgnoreSpec

from kingpost.packing.config_file import PackageError, read_text

IGNORE_FILES = (".kingpostignore", ".gitignore")  # the first that is there counts
NEVER = (".git/", "__pycache__/", ".venv/", ".kingpost/")  # never part of a package
PIECE = 1 << 20  # bytes that are read at once
TAR_END = bytes(2 * tarfile.BLOCKSIZE)  # a tar ends with two blocks of zeros


@dataclass(frozen=True)
class Selection:
    """The files of a package, in order, with their hash."""

    root: Path
    files: Mapping[str, Path]  # name in the package -> where it lies
    content_hash: str
    size: int  # bytes of all files

    @cached_property
    def tar_size(self) -> int:
        """The number of bytes of the tar."""
        return sum(_padded(len(head) + size) for head, _, size in self._tar_parts) + len(TAR_END)

    def tar(self, offset: int = 0) -> Iterator[bytes]:
        """The files as a tar from that byte on, in pieces. It holds no owners and times, so it is the same on every machine.

        Raises PackageError for a file that has become shorter since the first use of the tar or its size. Any other change makes
        content that does not fit the hash.
        """
        for head, path, size in self._tar_parts:
            length = _padded(len(head) + size)
            if offset < length:
                yield from _part_from(head, path, size, offset)
            offset = max(offset - length, 0)
        yield TAR_END[offset:]

    @cached_property
    def _tar_parts(self) -> list[tuple[bytes, Path, int]]:
        """For each file the header in the tar, the file and its size. The header is one or several whole blocks."""
        found: list[tuple[bytes, Path, int]] = []
        for name, path in self.files.items():
            info = tarfile.TarInfo(name)
            info.size = path.stat().st_size
            info.mode = 0o755 if os.access(path, os.X_OK) else 0o644
            found.append((info.tobuf(tarfile.PAX_FORMAT), path, info.size))
        return found


def _part_from(head: bytes, path: Path, size: int, offset: int) -> Iterator[bytes]:
    """One file of a tar, from the byte `offset` on: its header, its content, and zeros up to a whole block."""
    yield head[offset:]
    done = max(offset - len(head), 0)
    with path.open("rb") as content:
        content.seek(done)
        while done < size and (piece := content.read(min(PIECE, size - done))):
            done += len(piece)
            yield piece
    if done < size:
        raise PackageError(f"{path} has become shorter meanwhile; push again.")
    yield bytes(_padded(size) - done)


def _padded(size: int) -> int:
    """The size in whole blocks."""
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def selection_of(root: Path, named: Mapping[str, Path]) -> Selection:
    """The selection of these files under these names."""
    files = {name: named[name] for name in sorted(named, key=PurePosixPath)}
    found = hash_of({name: _digest(path) for name, path in files.items()})
    return Selection(root, files, found, sum(p.stat().st_size for p in files.values()))


def files_of(root: Path, max_file_bytes: int = sys.maxsize) -> tuple[Path, ...]:
    """The files of a package, in order. Raises PackageError."""
    return tuple(sorted(_walk(root, _ignore_rules(root), max_file_bytes)))


def folder_hash(root: Path) -> str:
    """The hash of what a push of that folder would take. Raises PackageError."""
    return content_hash(root, files_of(root))


def content_hash(root: Path, files: tuple[Path, ...]) -> str:
    """sha256 hex over relative paths and bytes."""
    return hash_of({path.relative_to(root).as_posix(): _digest(path) for path in files})


def hash_of(digests: Mapping[str, bytes]) -> str:
    """The content hash of files by their names in the package and the sha256 of each."""
    digest = hashlib.sha256()
    for name in sorted(digests, key=PurePosixPath):
        digest.update(name.encode() + b"\0" + digests[name])
    return digest.hexdigest()


def _digest(path: Path) -> bytes:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()


Stamps = dict[str, tuple[int, int]]  # relative path -> time of the last change in ns, bytes


def stamps(root: Path) -> Stamps:
    """The stamps of the package's files. A changed stamp means a changed file. Raises PackageError."""
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


def changes(before: Stamps, after: Stamps) -> set[str]:
    """The paths that were added, removed or changed."""
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def _ignore_rules(root: Path) -> GitIgnoreSpec:
    """What is left out of the package: the patterns of its ignore file, and NEVER. Raises PackageError."""
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
            name = _name_in_package(path, root)
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


def _name_in_package(path: Path, root: Path) -> str:
    """The path relative to the package, with slashes. Raises PackageError unless it is UTF-8."""
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

"""Reads the archive of a package: a plain tar of files and folders.

The check of an upload and the unpacking on a node share this reader, so both see the same files. It takes the headers that
tar writes for plain files, refuses everything else, and never holds more than a piece of the archive.
"""

import hashlib
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kingpost.packing.config_file import CONFIG_NAME, PackageError
from kingpost.packing.files import hash_of
from tasks.outside_text import LARGEST, whole_number
from tasks.settings import Settings

BLOCK = 512  # bytes; everything in a tar is a multiple of it
LONGEST_HEADER = 65_536  # bytes of an extended header
LONGEST_NAME, LONGEST_PART, DEEPEST = 1024, 255, 64  # bytes, bytes, folders
FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)
EXTENDED = (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME)
KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}
NO_FILES = "The archive holds no files."
LOOKED_AT = (CONFIG_NAME, ".py")  # endings of the files that a check reads
HARMLESS = {
    "mtime",
    "atime",
    "ctime",
    "uid",
    "gid",
    "uname",
    "gname",
    "comment",
}  # records of a pax header that are ignored


@dataclass(frozen=True)
class Limits:
    """What a package may hold: files and folders together, their bytes, and the bytes of one file."""

    entries: int
    size: int
    file_size: int

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """The limits of these settings."""
        return cls(
            settings.max_package_files,
            settings.max_package_bytes,
            settings.max_package_file_bytes,
        )

    def check(self, entries: int, size: int) -> None:
        """Raises PackageError for a package with more entries or bytes."""
        if entries > self.entries:
            message = f"The package has more than {self.entries} files and folders"
            raise PackageError(f"{message}; leave some out, or raise KINGPOST_MAX_PACKAGE_FILES.")
        if size > self.size:
            message = f"The package has more than {self.size} bytes"
            raise PackageError(
                f"{message}; download large files in load(), or raise KINGPOST_MAX_PACKAGE_BYTES."
            )


@dataclass(frozen=True)
class Entry:
    """A file or folder of the archive. The content must be read, if at all, before the next entry."""

    name: str
    is_folder: bool
    is_executable: bool
    size: int
    content: Iterator[bytes]


def entries(pieces: Iterable[bytes], limits: Limits) -> Iterator[Entry]:
    """The files and folders of an archive, in its order. Raises PackageError at the first thing that is wrong."""
    source, names, size = _Source(pieces), _Names(), 0
    extended: dict[str, str] = {}
    while block := source.take(BLOCK):
        if not any(block):
            source.check_padding()
            return
        info = _header(block)
        if info.type in EXTENDED:
            extended |= _extended(info, source)
            continue
        name, count = _name_and_size(info, extended)
        extended = {}
        size += count
        names.add(name, info.isdir())
        if count > limits.file_size:
            raise PackageError(f"{name} has {count} bytes, above the limit of {limits.file_size}.")
        limits.check(names.count, size)
        content = source.content(count)
        yield Entry(name, info.isdir(), bool(info.mode & 0o100), count, content)
        for _ in content:
            pass  # the rest that the caller has not read
        source.take(-count % BLOCK)


def verify(pieces: Iterable[bytes], wanted: str, limits: Limits) -> None:
    """Reads a whole archive. Raises PackageError unless it is one of a package with that content hash."""
    _check_hash(_digests(pieces, limits), wanted)


def content_hash(pieces: Iterable[bytes], limits: Limits) -> str:
    """The content hash of a whole archive. Raises PackageError unless it is one of a package."""
    digests = _digests(pieces, limits)
    if not digests:
        raise PackageError(NO_FILES)
    return hash_of(digests)


def unpack(pieces: Iterable[bytes], wanted: str, limits: Limits, to: Path) -> None:
    """Writes the files of an archive into an empty folder. Raises PackageError like `verify`, perhaps after some are written."""
    digests: dict[str, bytes] = {}
    for entry in entries(pieces, limits):
        target = to / entry.name
        if entry.is_folder:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            digests[entry.name] = _digest(_written(entry.content, out.write))
        target.chmod(0o755 if entry.is_executable else 0o644)
    _check_hash(digests, wanted)


def sketch(pieces: Iterable[bytes], limits: Limits, to: Path) -> None:
    """Writes what a check of the package needs: config.yaml and the Python files. All other files are empty."""
    for entry in entries(pieces, limits):
        target = to / entry.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if entry.is_folder:
            target.mkdir(exist_ok=True)
            continue
        with target.open("xb") as out:
            if entry.name.endswith(LOOKED_AT):
                out.writelines(entry.content)


def _written(content: Iterator[bytes], write: Callable[[bytes], object]) -> Iterator[bytes]:
    for piece in content:
        write(piece)
        yield piece


def _digests(pieces: Iterable[bytes], limits: Limits) -> dict[str, bytes]:
    return {
        entry.name: _digest(entry.content)
        for entry in entries(pieces, limits)
        if not entry.is_folder
    }


def _digest(content: Iterable[bytes]) -> bytes:
    digest = hashlib.sha256()
    for piece in content:
        digest.update(piece)
    return digest.digest()


def _check_hash(digests: dict[str, bytes], wanted: str) -> None:
    if not digests:
        raise PackageError(NO_FILES)
    if (found := hash_of(digests)) != wanted:
        raise PackageError(
            f"The files have the content hash {found[:12]}..., not {wanted[:12]}...; push again."
        )


class _Source:
    """The bytes of the archive, taken in the sizes that the reader asks for."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = memoryview(b"")

    def some(self, most: int) -> bytes:
        """At least one byte and at most that many. b"" at the end."""
        while not self._held:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._held = memoryview(piece)
        taken, self._held = self._held[:most], self._held[most:]
        return bytes(taken)

    def content(self, count: int) -> Iterator[bytes]:
        """So many bytes in pieces. Raises PackageError if there are fewer."""
        while count:
            piece = self.some(count)
            if not piece:
                raise PackageError("The archive ends too early; send all of an uncompressed tar.")
            count -= len(piece)
            yield piece

    def take(self, count: int) -> bytes:
        """So many bytes at once, or b"" at the end. Raises PackageError for fewer."""
        first = self.some(count) if count else b""
        return first + b"".join(self.content(count - len(first))) if first else b""

    def check_padding(self) -> None:
        """Raises PackageError for anything but zeros up to the end."""
        while piece := self.some(BLOCK * 128):
            if any(piece):
                raise PackageError("The archive goes on after its end.")


class _Names:
    """The names that were seen. A file must not be there twice, nor be a folder as well."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()

    @property
    def count(self) -> int:
        """How many files and folders they make, with the folders above them."""
        return len(self._files) + len(self._folders)

    def add(self, name: str, is_folder: bool) -> None:
        """Raises PackageError for a name that does not go with those before it."""
        parts = name.split("/")
        folders = {"/".join(parts[:end]) for end in range(1, len(parts) + is_folder)}
        self._folders |= folders
        if not is_folder:
            if name in self._files:
                raise PackageError(f"{_shown(name)} is in the archive twice.")
            self._files.add(name)
        clash = folders & self._files or ({name} & self._folders if not is_folder else set())
        if clash:
            raise PackageError(f"{_shown(clash.pop())} is a file and a folder in the archive.")


def _header(block: bytes) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except UnicodeDecodeError:
        raise PackageError("The archive has a name that is not UTF-8.") from None
    except (tarfile.TarError, ValueError):
        raise PackageError(
            "This is not a tar archive, or it is damaged; send an uncompressed tar."
        ) from None


def _extended(info: tarfile.TarInfo, source: _Source) -> dict[str, str]:
    """The path and size of an extended header, for the entry after it. Raises PackageError for what could hide files."""
    if not 0 < info.size <= LONGEST_HEADER:
        message = f"An extended header of the archive has {info.size} bytes"
        raise PackageError(f"{message}; the limit is {LONGEST_HEADER}.")
    data = source.take(info.size)
    source.take(-info.size % BLOCK)
    try:
        if info.type == tarfile.GNUTYPE_LONGNAME:
            return {"path": data.rstrip(b"\0").decode()}
        return _records(data)
    except (UnicodeDecodeError, ValueError):
        raise PackageError("An extended header of the archive is damaged.") from None


def _records(data: bytes) -> dict[str, str]:
    """The records of a pax header, `LENGTH KEY=VALUE` and a line feed each. Raises ValueError."""
    found: dict[str, str] = {}
    while data:
        length = whole_number(data.partition(b" ")[0].decode(), LONGEST_HEADER) or 0
        record, data = data[:length], data[length:]
        key, equals, value = record.partition(b" ")[2].decode().partition("=")
        if len(record) != length or not equals or not value.endswith("\n"):
            raise ValueError(record)
        if key not in HARMLESS | {"path", "size"}:
            raise PackageError(
                f"The archive has an extended header {_shown(key)}, which is not supported."
            )
        found[key] = value.removesuffix("\n")
    return {key: value for key, value in found.items() if key not in HARMLESS}


def _name_and_size(info: tarfile.TarInfo, extended: dict[str, str]) -> tuple[str, int]:
    """The checked name and size of a file or folder."""
    name, size = extended.get("path", info.name), info.size
    if not (info.isdir() or info.type in FILES):
        kind = KINDS.get(info.type, "neither a file nor a folder")
        raise PackageError(f"{_shown(name)} is {kind}; a package has plain files and folders only.")
    if "size" in extended:
        size = whole_number(extended["size"]) or 0
        if str(size) != extended["size"]:
            raise PackageError(f"{_shown(name)} has no valid size.")
    if not 0 <= size < LARGEST or (size and info.isdir()):
        raise PackageError(f"{_shown(name)} has no valid size.")
    return _checked(name.removesuffix("/") if info.isdir() else name), size


def _checked(name: str) -> str:
    """The name. Raises PackageError unless it is a relative path that stays in the package."""
    parts = name.split("/")
    if name.startswith("/"):
        raise PackageError(
            f"{_shown(name)} is an absolute name; names are relative to the package."
        )
    if ".." in parts:
        raise PackageError(f"{_shown(name)} leads out of the package.")
    if "\0" in name or any(part in ("", ".") for part in parts):
        raise PackageError(f"{_shown(name)} is not a valid name of a file.")
    longest = max(len(part.encode()) for part in parts)
    if len(name.encode()) > LONGEST_NAME or longest > LONGEST_PART or len(parts) > DEEPEST:
        rule = f"{LONGEST_NAME} bytes, {LONGEST_PART} for each part, and {DEEPEST} folders"
        raise PackageError(f"{_shown(name)} is too long a name; the limit is {rule}.")
    return name


def _shown(name: str) -> str:
    """A name of the archive for a sentence."""
    printable = name if name.isprintable() else repr(name)[1:-1]
    return printable if len(printable) <= 100 else printable[:100] + "..."

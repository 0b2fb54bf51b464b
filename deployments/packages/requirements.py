"""The requirements of a package, from `requirements` or `requirements_file` in config.yaml, and their hash."""

import hashlib
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal, cast

from packaging.requirements import InvalidRequirement, Requirement

from deployments.packages.package import Package
from kingpost.packing.config_file import PackageError
from kingpost.packing.files import folder_hash

Kind = Literal["list", "file", "pyproject", "uv_lock"]
KINDS: dict[str, Kind] = {"pyproject.toml": "pyproject", "uv.lock": "uv_lock"}
# Options of pip whose value is a file or folder.
FILE_OPTIONS = (
    "-r",
    "--requirement",
    "-c",
    "--constraint",
    "-e",
    "--editable",
    "-f",
    "--find-links",
)
# In TOML: a source in a folder beside it.
LOCAL_SOURCES = ("path =", "editable =", "directory =", "workspace =")


@dataclass(frozen=True)
class Requirements:
    """The requirements of one package. `lines` are as in pip's files. `file` is an absolute path, None for the list in config.yaml."""

    kind: Kind
    root: Path
    file: Path | None
    lines: tuple[str, ...]
    content: bytes  # all that decides what is installed

    @classmethod
    def of(cls, package: Package) -> "Requirements | None":
        """The requirements, None if there are none. Raises PackageError for a file that cannot be read."""
        if package.requirements_file:
            found = _of_file(package, package.root / package.requirements_file)
        else:
            lines = _effective(package.requirements)
            found = cls("list", package.root, None, lines, "\n".join(lines).encode())
        if not found.lines and found.kind != "uv_lock":
            return None
        if not _is_local(found):
            return found
        content = found.content + b"\0" + folder_hash(package.root).encode()
        return cls(found.kind, found.root, found.file, found.lines, content)

    @classmethod
    def none(cls, package: Package) -> "Requirements":
        """The empty requirements of a package that needs a virtualenv only for its Python version."""
        return cls("list", package.root, None, (), b"")

    def key(self, *more: str) -> str:
        """The hash that names the virtualenv. `more` is everything else that decides its content."""
        parts = [self.kind.encode(), self.content, *(part.encode() for part in more)]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]

    def pip_lines(self) -> list[str]:
        """The lines with absolute paths, so that they can stand in a file in any folder."""
        return [_absolute(line, self.root) for line in self.lines]

    def missing_here(self, more: Iterable[str] = ()) -> list[str]:
        """The requirements, and those of `more`, that our own installation does not satisfy, as far as this can be found out."""
        return [line for line in (*self.lines, *more) if not _is_satisfied(line)]


def _of_file(package: Package, file: Path) -> Requirements:
    kind, content = KINDS.get(file.name, "file"), file.read_bytes()
    if kind == "file":
        lines = _effective(tuple(content.decode(errors="replace").splitlines()))
        return Requirements(kind, package.root, file, lines, content)
    project = file.with_name("pyproject.toml")
    if not project.is_file():
        raise PackageError(f"requirements_file: {file.name} needs a pyproject.toml beside it.")
    if kind == "uv_lock":
        both = content + b"\0" + project.read_bytes()
        return Requirements(kind, package.root, file, (), both)
    return Requirements(kind, package.root, file, _dependencies(project), content)


def _dependencies(project: Path) -> tuple[str, ...]:
    try:
        table = tomllib.loads(project.read_text()).get("project", {})
    except tomllib.TOMLDecodeError as error:
        raise PackageError(f"requirements_file: {project.name} is not valid: {error}.") from None
    listed = cast("dict[str, object]", table).get("dependencies", [])
    if not isinstance(listed, list):
        raise PackageError(f"requirements_file: {project.name} lists no project.dependencies.")
    return tuple(str(extra) for extra in cast("list[object]", listed))


def _effective(lines: tuple[str, ...]) -> tuple[str, ...]:
    """The lines without blank lines and comments. Continued lines are joined."""
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    cut = [line.partition(" #")[0].strip() for line in joined]
    return tuple(line for line in cut if line and not line.startswith("#"))


def _is_local(found: Requirements) -> bool:
    """Whether the requirements name files of the package. Then a change of any file may change what is installed."""
    if found.kind in ("pyproject", "uv_lock"):
        text = found.content.decode(errors="replace")
        return any(word in text for word in LOCAL_SOURCES)
    return any(_names_a_file(line) for line in found.lines)


def _names_a_file(line: str) -> bool:
    option, value = _option(line)
    if option:
        return option in FILE_OPTIONS and "://" not in value
    try:
        return (Requirement(line.partition(" --")[0]).url or "").startswith("file:")
    except InvalidRequirement:
        return "://" not in line


def _option(line: str) -> tuple[str, str]:
    """("-r", "base.txt") for an option's line, ("", "") for any other."""
    if not line.startswith("-"):
        return "", ""
    if line.startswith("--"):
        name, _, value = line.replace("=", " ", 1).partition(" ")
    else:
        name, value = line[:2], line[2:].removeprefix("=")
    return name, value.strip()


def _absolute(line: str, root: Path) -> str:
    option, value = _option(line)
    if option in FILE_OPTIONS and "://" not in value:
        return f"{option} {root / value}"
    return line


def _is_satisfied(line: str) -> bool:
    try:
        return _is_installed(Requirement(line), set())
    except InvalidRequirement:
        return False  # an option, a path or a URL: only an installer can tell


def _is_installed(wanted: Requirement, seen: set[str]) -> bool:
    if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
        return True
    try:
        found = metadata.distribution(wanted.name)
    except metadata.PackageNotFoundError:
        return False
    if wanted.url or not wanted.specifier.contains(found.version, prereleases=True):
        return False
    if str(wanted) in seen:
        return True
    seen.add(str(wanted))
    return all(_is_installed(requirement, seen) for requirement in _of_extras(found, wanted.extras))


def _of_extras(found: metadata.Distribution, extras: set[str]) -> list[Requirement]:
    """The requirements of the extras. Other markers were evaluated before."""
    all_of_it = [Requirement(line) for line in found.requires or ()]
    brought: list[Requirement] = []
    for requirement in all_of_it:
        marker, requirement.marker = requirement.marker, None
        if marker and any(marker.evaluate({"extra": extra}) for extra in extras):
            brought.append(requirement)
    return brought

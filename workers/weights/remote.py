"""What every source of weights offers: a list of files, each of which can be read from any place on."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fnmatch import fnmatchcase

from deployments.packages.weights import Wish

CONNECT_SECONDS, SILENCE_SECONDS = 15.0, 60.0  # for an answer, and between two pieces of one
CHUNK = 1 << 20  # bytes


class WeightsFailed(Exception):
    """The weights cannot be had. The text is one sentence that says why and what to do."""


class Unreachable(WeightsFailed):
    """The source does not answer, or has an error of its own. Another try may succeed."""


@dataclass(frozen=True)
class Digest:
    """What the content must hash to. `sure` is False where the source may mean something else by it."""

    kind: str  # "sha256", "md5", or "git": the SHA-1 of a git blob
    value: str  # hexadecimal
    sure: bool = True


@dataclass(frozen=True)
class Body:
    """The content of a file from `offset` on. A source that cannot begin there begins at 0."""

    offset: int
    chunks: Iterator[bytes]


@dataclass(frozen=True)
class RemoteFile:
    """One file of a source. `read` takes an offset in bytes; it raises Unreachable and WeightsFailed."""

    name: str  # with "/", relative to the place where the files are shown
    size: int | None  # bytes; None = the source does not say
    identity: str  # the same identity means the same content
    read: Callable[[int], AbstractContextManager[Body]]
    digest: Digest | None = None


@dataclass(frozen=True)
class Listing:
    """The files of a wish. `commit` is that of a repository, else ''."""

    files: Sequence[RemoteFile]
    commit: str = ""


def is_wanted(name: str, wish: Wish) -> bool:
    """Whether the patterns of a wish let a file through, as huggingface_hub reads them: "folder/" means all below it."""
    if wish.allow and not any(fnmatchcase(name, _pattern(said)) for said in wish.allow):
        return False
    return not any(fnmatchcase(name, _pattern(said)) for said in wish.ignore)


def _pattern(said: str) -> str:
    return f"{said}*" if said.endswith("/") else said


def safe_name(name: str) -> str:
    """The name of a file or a commit of a source. Raises WeightsFailed if it leads out of the folder of its source."""
    parts = name.split("/")
    if not name or "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise WeightsFailed(f"The source has something with the name {name!r}, which is refused.")
    return name

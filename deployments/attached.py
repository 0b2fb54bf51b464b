"""Files that go along with a call of a model host: how an input names them, and how they follow it.

An input refers to a file by an object whose member `$ref` is a text that begins with PREFIX. Any other `$ref`, as in a JSON
schema, is an ordinary part of the input. The header FILES names the files of a call. The body has first their bytes, in that order,
and then the input. Gateway and worker send it, and the host reads it; none of them holds a file in memory.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

FILES = "x-kingpost-files"  # only the service sets it: the API drops headers of clients that begin with x-kingpost
PREFIX = "kingpost-file:"
MARK = PREFIX.encode()  # bytes without it refer to no file
MOST = 100  # files of one input
WORD = re.compile(r"([0-9a-f]{32}):(\d{1,18}):([a-z0-9]{0,8})")
ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Attached:
    """A file of a call. `ending` is that of its name, such as `png`, or ''."""

    id: str
    size: int
    ending: str = ""

    def __str__(self) -> str:
        return f"{self.id}:{self.size}:{self.ending}"


class BadReference(ValueError):
    """A reference of the input is not the id of a file, or there are too many."""


def reference(file_id: str) -> dict[str, str]:
    """How an input refers to that file."""
    return {"$ref": f"{PREFIX}{file_id}"}


def written(files: Sequence[Attached]) -> str:
    """The value of the header FILES."""
    return " ".join(map(str, files))


def read(header: str) -> list[Attached]:
    """The files that a header names. Raises ValueError."""
    found = [WORD.fullmatch(word) for word in header.split()]
    if None in found or len(found) > MOST:
        raise ValueError(f"This names no files: {header[:100]!r}.")
    matches = cast("list[re.Match[str]]", found)
    return [Attached(match[1], int(match[2]), match[3]) for match in matches]


def ids_in(value: Any) -> list[str]:
    """The ids of all files that an input refers to, each once. Raises BadReference."""
    found: dict[str, None] = {}

    def note(file_id: str) -> Any:
        if not ID.fullmatch(file_id):
            raise BadReference(f"{PREFIX}{file_id[:100]} refers to no file; POST /v1/uploads does.")
        found[file_id] = None
        if len(found) > MOST:
            raise BadReference(f"An input may refer to {MOST} files at most.")

    replaced(value, note)
    return list(found)


def replaced(value: Any, by: Callable[[str], Any]) -> Any:
    """The value with `by(file_id)` in place of each reference. The recursion is safe: parsers bound the depth of a value."""
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        ref = members.get("$ref")
        if isinstance(ref, str) and ref.startswith(PREFIX):
            return by(ref.removeprefix(PREFIX))
        return {name: replaced(member, by) for name, member in members.items()}
    if isinstance(value, list):
        return [replaced(member, by) for member in cast("list[Any]", value)]
    return value

"""Files that go along with a call of a model host: how an input names them, and how they follow it.

An input refers to a file by an object whose member `$ref` is a text that begins with PREFIX. Any other `$ref`, as in a JSON
schema, is an ordinary part of the input. The header FILES names the files of a call. The body has first their bytes, in that order,
and then the input. Gateway and worker send it, and the host reads it; none of them holds a file in memory.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

FILES = "x-kingpost-files"  # only the service sets it: what clients send with this beginning does not pass
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
    """The input refers to files in a way that cannot be."""


def reference(file_id: str) -> dict[str, str]:
    """How an input refers to that file."""
    return {"$ref": f"{PREFIX}{file_id}"}


def written(files: Sequence[Attached]) -> str:
    """The header."""
    return " ".join(map(str, files))


def read(header: str) -> list[Attached]:
    """The files that a header names. Raises ValueError."""
    found = [WORD.fullmatch(word) for word in header.split()]
    if None in found or len(found) > MOST:
        raise ValueError(f"This names no files: {header[:100]!r}.")
    matches = cast("list[re.Match[str]]", found)
    return [Attached(match[1], int(match[2]), match[3]) for match in matches]


def ids_in(value: Any) -> list[str]:
    """The ids of all files that an input refers to, each once. Raises BadReference for too many of them, and for one that is no id."""
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
    """The value with something else in place of each reference, whose id `by` gets. A value is never deeper than its parser allows."""
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        ref = members.get("$ref")
        if isinstance(ref, str) and ref.startswith(PREFIX):
            return by(ref.removeprefix(PREFIX))
        return {name: replaced(member, by) for name, member in members.items()}
    if isinstance(value, list):
        return [replaced(member, by) for member in cast("list[Any]", value)]
    return value

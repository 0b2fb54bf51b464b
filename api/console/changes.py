"""What has changed from one version of a model to another: keys of config.yaml, files, and the lines of the texts among them."""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from deployments.packages.contents import Contents, PackageFile

MOST_KEYS = 200
MOST_FILES = 300
MOST_TEXTS = 30  # whose lines are compared
MOST_LINES = 400  # of one text, as they are shown
LONGEST_LINE = 400  # characters
LONGEST_VALUE = 300  # characters
MOST_PAIRS = 1_000_000  # of lines that are compared; more would hold the API up
CONTEXT = 3  # lines around a change
HUNK = re.compile(r"@@ -(\d+)((?:,\d+)?) \+(\d+)((?:,\d+)?) @@")
TOO_DIFFERENT = "[too much has changed to be shown line by line]"
# "at" is a head between parts of the file, or a note in brackets.
Line = tuple[Literal["add", "cut", "same", "at"], str]


@dataclass(frozen=True)
class KeyChange:
    """A key of config.yaml, as in `resources.cpu`, and its values as JSON. None = the key is not there."""

    key: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class FileChange:
    """A file that was added, removed or changed. `before` or `after` is None if it is not there.

    `lines` are its changed lines. They are () for what is no text, and after the first MOST_TEXTS files.
    """

    name: str
    before: PackageFile | None
    after: PackageFile | None
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Changes:
    """What differs. It is not `complete` if a package was not read to its end, or if there is more than is shown."""

    keys: tuple[KeyChange, ...]
    files: tuple[FileChange, ...]
    complete: bool


def changes(before: Contents, after: Contents) -> Changes:
    """What differs between two packages. The work is bounded, but long enough to belong in a thread."""
    keys = list(_keys(before.config, after.config))
    changed = list(_changed(before, after))
    compared = 0
    files: list[FileChange] = []
    for name, (old, new) in changed[:MOST_FILES]:
        lines: tuple[Line, ...] = ()
        if compared < MOST_TEXTS and _is_text(old) and _is_text(new):
            compared += 1
            lines = _lines(old, new)
        files.append(FileChange(name, old, new, lines))
    whole = before.complete and after.complete
    complete = whole and len(keys) <= MOST_KEYS and len(changed) <= MOST_FILES
    return Changes(tuple(keys[:MOST_KEYS]), tuple(files), complete)


def _keys(before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[KeyChange]:
    old, new = dict(_flat(before)), dict(_flat(after))
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            yield KeyChange(key, old.get(key), new.get(key))


def _flat(config: Mapping[str, object], above: str = "") -> Iterator[tuple[str, str]]:
    """Every value of a nested config, as JSON, by its key with dots. `above` is the key's beginning."""
    for name, value in config.items():
        if isinstance(value, dict) and value:
            yield from _flat(cast("dict[str, Any]", value), f"{above}{name}.")
        else:
            text = json.dumps(value, ensure_ascii=False)
            cut = len(text) > LONGEST_VALUE
            yield f"{above}{name}", f"{text[:LONGEST_VALUE]} ..." if cut else text


def _changed(
    before: Contents, after: Contents
) -> Iterator[tuple[str, tuple[PackageFile | None, PackageFile | None]]]:
    old, new = ({file.name: file for file in part.files} for part in (before, after))
    for name in sorted(old.keys() | new.keys()):
        pair = old.get(name), new.get(name)
        if pair[0] is None or pair[1] is None or pair[0].sha256 != pair[1].sha256:
            yield name, pair


def _is_text(file: PackageFile | None) -> bool:
    return file is None or file.text is not None


def _lines(before: PackageFile | None, after: PackageFile | None) -> tuple[Line, ...]:
    old, new = ((file.text or "").splitlines() if file else [] for file in (before, after))
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    if (len(old) - start - end) * (len(new) - start - end) > MOST_PAIRS:
        return (("at", TOO_DIFFERENT),)
    # Only the part between the equal beginning and the equal end is compared, with some lines around it.
    first = max(start - CONTEXT, 0)
    old_part, new_part = (lines[first : len(lines) - max(end - CONTEXT, 0)] for lines in (old, new))
    found = list(difflib.unified_diff(old_part, new_part, n=CONTEXT, lineterm=""))[2:]
    found = [_moved_down(text, first) for text in found]
    shown = [_line(text) for text in found[:MOST_LINES]]
    if len(found) > MOST_LINES:
        shown.append(("at", f"[{len(found) - MOST_LINES} more lines]"))
    return tuple(shown)


def _moved_down(text: str, lines: int) -> str:
    """The line. The numbers in the head of a hunk grow by `lines`, which were left out of the comparison."""
    found = HUNK.fullmatch(text)
    if not found:
        return text
    old, new = (int(found[number]) + lines for number in (1, 3))
    return f"@@ -{old}{found[2]} +{new}{found[4]} @@"


def _line(text: str) -> Line:
    kind: Literal["add", "cut", "same", "at"] = "same"
    if text.startswith("@@"):
        kind = "at"
    elif text.startswith(("+", "-")):
        kind = "add" if text[0] == "+" else "cut"
    return kind, text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]} ..."

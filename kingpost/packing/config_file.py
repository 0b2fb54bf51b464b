"""Reads config.yaml as a mapping. For a bad file it raises an error of one sentence, with the place in the file if that is known."""

import codecs
from collections.abc import Hashable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, cast

import yaml

CONFIG_NAME = "config.yaml"
MOST_BYTES = 1 << 20  # of the file
MOST_VALUES = 100_000  # of the file; what an anchor repeats counts each time
DEEPEST = 100  # levels of nesting, far more than a config.yaml needs
OTHER_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


class PackageError(Exception):
    """The package cannot be used as it is; `excerpt` shows the line that is wrong."""

    def __init__(self, message: str, excerpt: str = "") -> None:
        super().__init__(message)
        self.excerpt = excerpt

    @property
    def shown(self) -> str:
        """For a terminal: the sentence, then the line with a caret below."""
        return f"{self}\n{self.excerpt}" if self.excerpt else str(self)


def excerpt_of(text: str, line: int, column: int) -> str:
    """That line of a text with a caret under the column; both count from 1."""
    lines = text.splitlines()
    if not 1 <= line <= len(lines):
        return ""
    before = "".join(c if c == "\t" else " " for c in lines[line - 1][: column - 1])
    return f"    {lines[line - 1]}\n    {before}^"


def read_text(path: Path, name: str) -> str:
    """A text file of a package. Raises PackageError unless it is UTF-8; a byte order mark is dropped."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PackageError(f"{name} cannot be read: {error.strerror}.") from None
    for mark, encoding in OTHER_ENCODINGS.items():
        if data.startswith(mark):
            raise PackageError(f"{name} is {encoding}; save it as UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        message = (
            f"{name} line {line} has the byte 0x{byte:02x}, which is not UTF-8; save it as UTF-8."
        )
        raise PackageError(message) from None


def read_yaml(root: Path) -> tuple[dict[str, object], list[str]]:
    """The config.yaml in the folder `root` as a mapping, and a warning for each duplicate key (the last one wins). Raises PackageError."""
    path = root / CONFIG_NAME
    if not path.is_file():
        other = path.with_suffix(".yml")
        hint = f"; rename {other.name} to {path.name}" if other.is_file() else ""
        raise PackageError(f"There is no {CONFIG_NAME} in {root}{hint}.")
    if (size := path.stat().st_size) > MOST_BYTES:
        raise PackageError(f"{CONFIG_NAME} has {size} bytes, above the limit of {MOST_BYTES}.")
    return yaml_of(read_text(path, CONFIG_NAME))


def yaml_of(text: str) -> tuple[dict[str, object], list[str]]:
    """As `read_yaml`, of a text that was read already."""
    raw, warnings = _parsed(text)
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        raise PackageError(f"{CONFIG_NAME} must be a mapping of keys to values.")
    return cast("dict[str, object]", plain(raw)), warnings


def _parsed(text: str) -> tuple[object, list[str]]:
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None, []
            _check_values(node)
            return loader.construct_document(node), loader.warnings
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise _error_with_place(error, text) from None
    except yaml.YAMLError as error:
        raise PackageError(f"{CONFIG_NAME} is not valid YAML: {_one_line(error)}.") from None
    except RecursionError:
        raise PackageError(f"{CONFIG_NAME} is nested too deep.") from None


def _error_with_place(error: yaml.MarkedYAMLError, text: str) -> PackageError:
    mark = error.problem_mark or error.context_mark
    what = " ".join(f"{error.problem or error.context or 'it cannot be read'}".split())
    if mark is None:
        return PackageError(f"{CONFIG_NAME} is not valid YAML: {what}.")
    line, column = mark.line + 1, mark.column + 1
    message = f"{CONFIG_NAME}:{line}:{column} is not valid YAML: {what}."
    return PackageError(message, excerpt_of(text, line, column))


def _one_line(error: yaml.YAMLError) -> str:
    return " ".join(str(error).split())


def _check_values(root: yaml.Node) -> None:
    """Raises PackageError for a file that its anchors make endless or huge, or that is nested too deep."""
    sizes: dict[int, int] = {}
    above: set[int] = set()

    def size(node: yaml.Node, depth: int) -> int:
        if id(node) in above:
            raise PackageError(f"{CONFIG_NAME} has an anchor that contains itself.")
        if id(node) not in sizes:
            if depth > DEEPEST:
                raise PackageError(f"{CONFIG_NAME} is nested deeper than {DEEPEST} levels.")
            above.add(id(node))
            sizes[id(node)] = 1 + sum(size(child, depth + 1) for child in _children(node))
            above.discard(id(node))
        return sizes[id(node)]

    if size(root, 1) > MOST_VALUES:
        message = f"{CONFIG_NAME} has more than {MOST_VALUES} values, with what its anchors repeat."
        raise PackageError(message)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def plain(value: object) -> object:
    """The value in types that JSON has, as Truss passes a config: dates and keys become strings."""
    if isinstance(value, Mapping):
        entries = cast("Mapping[object, object]", value)
        return {str(key): plain(entry) for key, entry in entries.items()}
    if isinstance(value, list | set | tuple):
        return [plain(entry) for entry in cast("list[object]", value)]
    if isinstance(value, date):  # and datetime
        return value.isoformat()
    return value.decode(errors="replace") if isinstance(value, bytes) else value


class _Loader(yaml.SafeLoader):
    """Safe YAML that records a warning for each duplicate key."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.warnings: list[str] = []

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """A value that looks like a date or number and is none (2024-02-30, 0b_) raises an error with its place."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError) as error:
            said = f"{node.value!r} is no {node.tag.rpartition(':')[2]} ({error}); put quotes around a string"
            raise yaml.constructor.ConstructorError(None, None, said, node.start_mark) from None

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, object]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = getattr(key_node, "value", None)
            if isinstance(key, str) and key != "<<" and key in seen:
                line = key_node.start_mark.line + 1
                self.warnings.append(
                    f"{CONFIG_NAME} line {line}: {key} is set twice; the last wins."
                )
            seen.add(key if isinstance(key, str) else id(key_node))
        return super().construct_mapping(node, deep)

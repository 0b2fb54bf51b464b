"""Reading config.yaml value by value: whatever is wrong ends in one sentence that names the key."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import yaml

CONFIG_NAME = "config.yaml"


class PackageError(Exception):
    """The package cannot be used as it is."""


@dataclass(frozen=True)
class Section:
    """One mapping of the file; `path` is the dotted key that leads to it, empty at the top."""

    values: Mapping[str, object]
    path: str = ""

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        if value is None or isinstance(value, str):
            return value
        raise self._wrong(key, "a text")

    def required_text(self, key: str) -> str:
        text = self.text(key)
        if not text:
            raise PackageError(f"{self._dotted(key)} is required.")
        return text

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; absent, null and empty are all ()."""
        value = self.values.get(key) or []
        if isinstance(value, list):
            entries = cast("list[object]", value)
            texts = tuple(entry for entry in entries if isinstance(entry, str))
            if len(texts) == len(entries):
                return texts
        raise self._wrong(key, "a list of texts")

    def flag(self, key: str) -> bool:
        value = self.values.get(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        raise self._wrong(key, "true or false")

    def integer(self, key: str, *, at_least: int) -> int | None:
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and value >= at_least:
            return value
        raise self._wrong(key, f"an integer of at least {at_least}")

    def number(
        self, key: str, *, at_least: float | None = None, above: float | None = None
    ) -> float | None:
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            fits = value >= at_least if at_least is not None else value > (above or 0)
            if fits:
                return value
        bound = f"of at least {at_least:g}" if at_least is not None else f"above {above or 0:g}"
        raise self._wrong(key, f"a number {bound}")

    def section(self, key: str) -> "Section":
        """A mapping with text keys; absent and null are empty."""
        value = self.values.get(key)
        if value is None:
            return Section({}, self._dotted(key))
        if not isinstance(value, Mapping):
            raise self._wrong(key, "a mapping of names to values")
        entries = cast("Mapping[object, object]", value)
        return Section({str(name): entry for name, entry in entries.items()}, self._dotted(key))

    def _dotted(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def _wrong(self, key: str, expected: str) -> PackageError:
        got = self.values[key]
        return PackageError(f"{self._dotted(key)} must be {expected}, not {got!r}.")


def read_yaml(root: Path) -> tuple[dict[str, object], list[str]]:
    """The file as a mapping, and a warning per duplicate key (the last one wins). Raises PackageError."""
    path = root / CONFIG_NAME
    if not path.is_file():
        other = path.with_suffix(".yml")
        hint = f"; rename {other.name} to {path.name}" if other.is_file() else ""
        raise PackageError(f"There is no {CONFIG_NAME} in {root}{hint}.")
    loader = _Loader(path.read_text(encoding="utf-8"))
    try:
        raw: object = loader.get_single_data()
    except yaml.YAMLError as error:
        raise PackageError(f"{CONFIG_NAME} is not valid YAML: {_one_line(error)}.") from None
    finally:
        loader.dispose()
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        raise PackageError(f"{CONFIG_NAME} must be a mapping of keys to values.")
    entries = cast("dict[object, object]", raw)
    return {str(key): value for key, value in entries.items()}, loader.warnings


def _one_line(error: yaml.YAMLError) -> str:
    return " ".join(str(error).split())


class _Loader(yaml.SafeLoader):
    """Safe YAML that notes duplicate keys instead of passing over them in silence."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.warnings: list[str] = []

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

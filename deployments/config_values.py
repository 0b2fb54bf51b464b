"""config.yaml as a mapping: whatever is wrong with the file ends in one sentence."""

from collections.abc import Hashable
from pathlib import Path
from typing import cast

import yaml

CONFIG_NAME = "config.yaml"


class PackageError(Exception):
    """The package cannot be used as it is."""


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

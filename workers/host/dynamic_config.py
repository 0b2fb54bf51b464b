"""In a chainlet's host: where the code that Truss generated reads its configuration."""

import importlib
from pathlib import Path
from typing import Any


def use_dynamic_config(folder: Path) -> None:
    """Before the chainlet is imported: its configuration is read from `folder`."""
    resolver: Any = importlib.import_module("truss.templates.shared.dynamic_config_resolver")
    resolver.DYNAMIC_CONFIG_MOUNT_DIR = str(folder)

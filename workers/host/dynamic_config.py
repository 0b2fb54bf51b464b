"""Tells the code that Truss generated for a chainlet where to read its configuration."""

import importlib
from pathlib import Path
from typing import Any


def use_dynamic_config(folder: Path) -> None:
    """Sets the folder of the configuration. Call it before the chainlet is imported."""
    resolver: Any = importlib.import_module("truss.templates.shared.dynamic_config_resolver")
    resolver.DYNAMIC_CONFIG_MOUNT_DIR = str(folder)

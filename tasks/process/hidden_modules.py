"""Imports a library without an optional dependency that it would use if it found it."""

import contextlib
import sys
from collections.abc import Generator


@contextlib.contextmanager
def hidden(name: str) -> Generator[None]:
    """Makes `import name` raise ModuleNotFoundError meanwhile, unless the module is imported already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment] # the import system's sign for a module that is not there
    try:
        yield
    finally:
        del sys.modules[name]

"""Checks the syntax of the model's file. Errors have the place (`model/model.py:2:25`), the line and a caret."""

import ast
import sys
from pathlib import Path

from kingpost.packing.config_file import PackageError, excerpt_of


def check_syntax(file: Path, root: Path, python_version: str | None) -> None:
    """Raises PackageError for a syntax error. A package for another Python version is not checked, because its syntax may differ."""
    ours = f"py{sys.version_info.major}{sys.version_info.minor}"
    if python_version not in (None, ours):
        return
    try:
        source = file.read_bytes()
        ast.parse(source, str(file))
    except OSError as error:
        name = file.relative_to(root).as_posix()
        raise PackageError(f"{name} cannot be read: {error.strerror}.") from None
    except SyntaxError as error:
        raise syntax_error(error, root, file) from None
    except (ValueError, RecursionError, MemoryError) as error:
        name = file.relative_to(root).as_posix()
        raise PackageError(f"{name} is not valid Python: {error}.") from None


def syntax_error(error: SyntaxError, root: Path, file: Path) -> PackageError:
    """The error with the place, the line and a caret. `file` is used if the error names no file."""
    file = Path(error.filename) if error.filename else file
    name = file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)
    if not error.lineno:
        return PackageError(f"{name} is not valid Python: {error.msg}.")
    column = error.offset or 1
    text = file.read_text(errors="replace") if file.is_file() else error.text or ""
    excerpt = excerpt_of(text, error.lineno, column)
    return PackageError(f"{name}:{error.lineno}:{column}: {error.msg}.", excerpt)

"""The defaults in docs/settings.md, which people write otherwise."""

import re
from typing import Any

from tasks.process.variables import PREFIX
from tasks.settings import Settings

ROW = re.compile(r"^\| `(KINGPOST_[A-Z_]+)` \| (.*?) ?\| ", re.M)


def renewed(page: str) -> str:
    """The page with the defaults of the code. Raises KeyError for a setting that does not exist."""
    defaults = {
        PREFIX + name.upper(): field.default for name, field in Settings.model_fields.items()
    }

    def row(match: re.Match[str]) -> str:
        return f"| `{match[1]}` | {_said(defaults[match[1]])} | "

    return ROW.sub(row, page)


def _said(default: Any) -> str:
    """A default as one would write it in a variable."""
    if default is None:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float) and default.is_integer():
        return str(int(default))
    return str(default)

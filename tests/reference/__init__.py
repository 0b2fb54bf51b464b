"""Pages of the reference that the code writes: `make reference`. tests/unit/project/test_reference.py compares them with the code."""

from pathlib import Path

from deployments.config import table
from tests.reference import commands, errors, routes, settings

ROOT = Path(__file__).parents[2]


def pages() -> dict[str, str]:
    """Each page, by its path in the repository."""
    return {
        "docs/config.md": table.table(),
        "docs/settings.md": settings.renewed((ROOT / "docs" / "settings.md").read_text()),
        "docs/reference/cli.md": commands.page(),
        "docs/reference/errors.md": errors.page(),
        "docs/reference/routes.md": routes.page(),
    }

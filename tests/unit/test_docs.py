"""The docs name what exists, and all of it."""

import re
from pathlib import Path

from tasks.process.variables import PREFIX
from tasks.settings import Settings

ROOT = Path(__file__).parents[2]


def test_the_settings_page_lists_every_setting_and_no_other() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    listed = set(re.findall(r"^\| `(KINGPOST_[A-Z_]+)`", page, re.M))
    assert listed == {PREFIX + name.upper() for name in Settings.model_fields}


def test_every_link_between_our_pages_leads_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("models/*/README.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"

"""`make screenshots` has a picture of every page, and the docs show pictures that it makes."""

import re
from pathlib import Path

from api.app import create_app
from tasks.settings import Settings
from tests.contract.api.all_routes import CONSOLE, _flat
from tests.screenshots.__main__ import DOCS, THEMES, WIDTHS, pages
from tests.screenshots.stand import Stand

ROOT = Path(__file__).parents[3]
NO_PAGES = r"/static/|/login|/pulse|/output|/input|/stream|\{rest"


def test_every_page_has_a_picture() -> None:
    shown = set(pages(Stand("", "", "p" * 32, "c" * 32, "r" * 32, "f" * 32)).values())
    for route in _flat(create_app(Settings()).routes):
        path = str(getattr(route, "path", ""))
        if path.startswith(CONSOLE) and "GET" in route.methods and not re.search(NO_PAGES, path):
            like = re.compile(re.sub(r"\{\w+\}", "[^/]+", path))
            assert any(like.fullmatch(address.partition("?")[0]) for address in shown), path


def test_the_docs_show_pictures_that_are_made_and_small() -> None:
    texts = "".join((ROOT / name).read_text() for name in ("README.md", "docs/console.md"))
    named = set(re.findall(r"\((?:docs/)?(console-\w+)\.png\)", texts))
    assert named == set(DOCS)
    names = pages(Stand("", "", "", "", "", ""))
    for name, picture in DOCS.items():
        page, width, theme = picture.rsplit("-", 2)
        assert page in names and width in WIDTHS and theme in THEMES
        assert (ROOT / "docs" / f"{name}.png").stat().st_size < 120_000, name

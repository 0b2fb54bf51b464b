"""The site of the documentation: it builds without a broken link, and no page asks another host for anything."""

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Browser

from tests.contract.api.test_console_in_browser import CHROMIUM, chromium

__all__ = ["chromium"]  # fixture
ROOT = Path(__file__).parents[3]
LOADED = re.compile(r"<(?:link|script|img|iframe|source)\b[^>]*?\b(?:src|href)=[\"']?(\w+:|//)")
BROKEN = ("nowhere.md", "api.md#no-such-heading", "../SECURITY.md#no-heading-either")


def build(target: Path, source: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """`make docs`, with the site elsewhere."""
    mkdocs = Path(sys.executable).parent / "mkdocs"
    return subprocess.run(
        [mkdocs, "build", "-f", str(source / "mkdocs.yml"), "-d", str(target)],
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    done = build(target)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def pages(site: Path) -> list[str]:
    return sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))


def test_every_page_of_docs_is_in_the_site(site: Path) -> None:
    docs = ROOT / "docs"
    sources = {path.relative_to(docs).with_suffix("").as_posix() for path in docs.rglob("*.md")}
    wanted = {
        name.removesuffix("README") + "index" if name.endswith("README") else name
        for name in sources
    }
    assert wanted <= {page.removesuffix(".html") for page in pages(site)}


def test_broken_links_stop_the_build(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("docs", "priority", "bench/README.md", "mkdocs.yml", *ROOT.glob("*.md")):
        path = ROOT / name
        copied = tree / path.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(path, copied) if path.is_dir() else shutil.copy(path, copied)
    with (tree / "docs" / "chains.md").open("a") as page:
        page.writelines(f"\n[there]({link})\n" for link in BROKEN)
    done = build(tmp_path / "site", tree)
    assert done.returncode != 0
    missing = [link for link in BROKEN if link.removeprefix("../SECURITY.md") not in done.stderr]
    assert missing == [], done.stderr


def test_no_page_names_a_file_of_another_host(site: Path) -> None:
    for page in pages(site):
        found = LOADED.findall((site / page).read_text())
        assert set(found) <= {"data:"}, page


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(site))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")
def test_a_browser_asks_no_other_host(site: Path, served: str, chromium: Browser) -> None:
    """Every page; on the first one a search, too, which loads the index."""
    asked: set[str] = set()
    wrong: list[str] = []
    page = chromium.new_page()
    page.on("request", lambda request: asked.add(request.url))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.goto(served)
    page.get_by_placeholder("Search").first.fill("webhook")
    page.locator("a.md-search-result__link").first.wait_for()
    for name in pages(site):
        if name != "404.html":
            page.goto(served + name)
    page.close()
    assert f"{served}search/search_index.json" in asked
    elsewhere = {url for url in asked if not url.startswith((served, "data:", "blob:"))}
    assert (elsewhere, wrong) == (set(), [])

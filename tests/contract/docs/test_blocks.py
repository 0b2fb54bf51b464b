"""The code blocks of the tutorial and of the how-to guides, typed in their order against a real stack."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.conditions import wait_until
from tests.contract.api.test_console_in_browser import CHROMIUM, chromium
from tests.contract.docs.blocks import blocks, missing, pages, script
from tests.contract.docs.conftest import Reader

__all__ = ["chromium"]  # fixture
pytestmark = pytest.mark.stack


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_what_a_page_types_works(page: Path, reader: Reader) -> None:
    text = page.read_text()
    done = reader.types(script(text))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert missing(reader.here(text), done.stdout) == []


def test_a_page_that_lies_is_found_out() -> None:
    page = "```bash\necho true\n```\n\n<!-- output -->\n```text\nfalse\n```\n"
    done = subprocess.run(["bash", "-c", script(page)], capture_output=True, text=True)
    assert len(missing(page, done.stdout)) == 1
    assert missing(page.replace("false", "true"), done.stdout) == []
    with pytest.raises(ValueError, match="needs a comment"):
        blocks("```yaml\na: 1\n```\n")


@pytest.fixture
def served(reader: Reader) -> Iterator[str]:
    """The page of the tutorial, as its last block serves it."""
    port = str(reader.ports["9100"])
    command = [sys.executable, "-m", "http.server", port, "--bind", "127.0.0.1"]
    server = subprocess.Popen(
        [*command, "--directory", "site"], cwd=reader.folder, stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: _listens(reader.ports["9100"]), 30, "no page")
    yield f"http://127.0.0.1:{port}/"
    server.kill()
    server.communicate()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")
def test_the_page_of_the_tutorial_paints(reader: Reader, served: str, chromium: Browser) -> None:
    tutorial = next(page for page in pages() if page.stem == "tutorial").read_text()
    if not (reader.folder / "page_key.txt").exists():
        assert reader.types(script(tutorial)).returncode == 0
    page = chromium.new_page()
    page.goto(served)
    page.get_by_label("API key").fill((reader.folder / "page_key.txt").read_text().strip())
    page.get_by_role("button", name="Paint").click()
    page.locator("#drawing circle").nth(7).wait_for()
    page.close()


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0

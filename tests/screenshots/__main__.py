"""`python -m tests.screenshots [FOLDER] [--docs]`: pictures of every page of the console, in both themes, wide and narrow.

It starts a stack of its own and needs a Chromium on the PATH; without one it says so and makes none. With `--docs` it also
renews the pictures in README.md and docs/.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.screenshots.stand import Stand, stand

WIDTHS = {"wide": 1440, "narrow": 390}
THEMES = ("light", "dark")
TALLEST = 3000  # pixels of a picture
ROOT = Path(__file__).parents[2]
DOCS = {
    "console-overview": "overview-wide-light",
    "console-jobs": "jobs-wide-light",
    "console-request": "request-wide-light",
    "console-try": "try-wide-light",
}
COLOURS = 128  # of a picture in the docs: it is a third as large then
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


def pages(shown: Stand) -> dict[str, str]:
    """The path of each page, by the name of its picture."""
    return {
        "overview": "/ui",
        "jobs": "/ui/jobs",
        "jobs-queued": "/ui/jobs?model=translator&status=QUEUED",
        "request": f"/ui/jobs/{shown.painted}",
        "request-json": f"/ui/jobs/{shown.classified}",
        "request-running": f"/ui/jobs/{shown.running}",
        "request-failed": f"/ui/jobs/{shown.failed}",
        "model": "/ui/models/classifier",
        "changes": "/ui/models/classifier/changes",
        "log": "/ui/models/classifier/log",
        "model-broken": "/ui/models/summariser",
        "try": "/ui/models/painter/try",
        "chat": "/ui/models/translator/chat",
        "keys": "/ui/keys",
        "webhooks": "/ui/webhooks",
        "audit": "/ui/audit",
        "nodes": "/ui/nodes",
        "settings": "/ui/settings",
    }


def pictures(browser: Browser, shown: Stand, folder: Path) -> None:
    """Makes all of them: PAGE-WIDTH-THEME.png."""
    for width, pixels in WIDTHS.items():
        for theme in THEMES:
            context = browser.new_context(
                base_url=shown.url,
                viewport={"width": pixels, "height": 900},
                color_scheme=theme,  # type: ignore[arg-type]
            )
            page = context.new_page()
            _shoot(page, folder / f"login-{width}-{theme}.png", "/ui/login", live=False)
            page.get_by_label("API key").fill(shown.key)
            page.get_by_role("button", name="Log in").click()
            for name, path in pages(shown).items():
                _shoot(page, folder / f"{name}-{width}-{theme}.png", path, runs=name == "try")
            context.close()


def _shoot(page: Page, to: Path, path: str, live: bool = True, runs: bool = False) -> None:
    page.goto(path)
    if live:
        page.locator("#link.live").wait_for()
    if runs:
        page.get_by_role("button", name="Run", exact=True).click()
        page.locator("#result img").wait_for()
    tall = int(page.evaluate("document.documentElement.scrollHeight"))
    clip = {"x": 0, "y": 0, "width": page.viewport_size["width"], "height": min(tall, TALLEST)}  # type: ignore[index]
    page.screenshot(path=to, full_page=True, clip=clip)  # type: ignore[arg-type]


def _into_docs(folder: Path) -> None:
    for name, picture in DOCS.items():
        with Image.open(folder / f"{picture}.png") as found:
            small = found.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
            small.save(ROOT / "docs" / f"{name}.png", optimize=True)


def main() -> None:
    """Says where the pictures are."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build" / "screenshots")
    parser.add_argument("--docs", action="store_true", help="renew those in README.md and docs/")
    asked = parser.parse_args()
    if CHROMIUM is None:
        print("No pictures: there is no Chromium on the PATH. On Debian: apt install chromium.")
        return
    folder = asked.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as where, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        with stand(Path(where)) as shown:
            pictures(browser, shown, folder)
        browser.close()
    if asked.docs:
        _into_docs(folder)
    print(f"{len(list(folder.glob('*.png')))} pictures are in {folder}.")


if __name__ == "__main__":
    main()

"""`kingpost open`: the pages of a server."""

import json
import sys
from typing import Annotated

import typer

from cli.client.choosing import chosen_server, local_server
from cli.options import AsJson
from kingpost.errors import Error

PAGES = {"console": "/ui", "docs": "/docs", "flower": ""}


class NoPage(Error):
    """There is no such page."""


def open_page(
    page: Annotated[
        str, typer.Argument(help="console, docs (the API), or flower (the workers).")
    ] = "console",
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open it, or only print it.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Prints the address of a server's page, and opens it in the browser."""
    if page not in PAGES:
        raise NoPage(f"There is no page {page!r}; there are {', '.join(PAGES)}.")
    server = chosen_server()
    if page == "flower":
        url, note = _flower(server is None)
    else:
        url, note = f"{(server or local_server()).url}{PAGES[page]}", ""
    print(json.dumps({"url": url}) if as_json else url)
    if note and not as_json:
        typer.echo(note, err=True)
    if browser and not as_json and sys.stdout.isatty():
        typer.launch(url)


def _flower(here: bool) -> tuple[str, str]:
    """The address of Flower, and who may see it. Raises NoPage where there is none."""
    if not here:
        raise NoPage("Flower is on the machine of the stack: `kingpost open flower` there.")
    local_server()  # says why no stack is found
    from cli.running import state_settings

    folder = state_settings().state_dir
    url = json.loads((folder / "up.json").read_bytes()).get("flower")
    if not url:
        raise NoPage("This stack runs without Flower (--no-flower).")
    return str(url), f"user kingpost, password in {folder / 'flower_password'}"

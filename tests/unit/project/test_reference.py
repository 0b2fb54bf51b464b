"""The reference has everything that the code has: settings, keys, commands, routes, errors, metrics, events."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from cli.lazily import WHERE
from cli.main import app
from tasks.webhooks.payload import WebhookBody
from tests.contract.api.all_routes import CONSOLE, every_route
from tests.reference import commands, pages, routes

ROOT = Path(__file__).parents[3]
made = cache(pages)


@pytest.mark.parametrize("name", made())
def test_a_page_is_as_the_code_writes_it(name: str) -> None:
    assert (ROOT / name).read_text() == made()[name], f"`make reference` writes {name} anew"


def test_every_command_is_there() -> None:
    typed = {name.split()[1] for name in commands.commands()}
    here = {info.name or info.callback.__name__ for info in app.registered_commands}  # type: ignore[union-attr]
    assert typed == {*WHERE, *(name.replace("_", "-") for name in here)}


def test_every_route_is_there() -> None:
    page = made()["docs/reference/routes.md"]
    for route in every_route():
        path = route.template.replace(":path", "")
        path = re.sub(
            r"^/(development|environments/\{\w+\}|deployment/\{\w+\})/", "/production/", path
        )
        methods = "any method on" if path == "/production/sync/{route}" else route.method
        if not path.startswith(CONSOLE) and route.method not in ("HEAD", "OPTIONS"):
            named = (f"`{route.method} {path}`", f"{methods} `{path}`", f"{route.method} {path}`")
            assert any(name in page for name in named), str(route)


def test_every_route_has_an_example() -> None:
    sections = re.split(
        r"^### ", made()["docs/reference/routes.md"].partition(routes.MORE)[0], flags=re.M
    )
    assert len(sections) > 90
    assert [section for section in sections[1:] if "```bash\ncurl " not in section] == []


def test_every_metric_is_there() -> None:
    page = (ROOT / "docs" / "observing.md").read_text()
    listed = {re.sub(r"_(total|info)$", "", name) for name in re.findall(r"`(kingpost_\w+)`", page)}
    named = {
        node.value
        for path in (ROOT / "api" / "observing").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and re.fullmatch(r"kingpost_\w+", str(node.value))
    }
    assert len(named) > 40
    assert {re.sub(r"_info$", "", name) for name in named} - listed == set()


def test_every_event_is_there() -> None:
    page = (ROOT / "docs" / "reference" / "events.md").read_text().partition("## The webhook")[0]
    listed = set(re.findall(r"^\| `(\w+)` \| (?:`\{|what|a )", page, re.M))
    code = "".join(path.read_text() for path in (ROOT / "api" / "routes").rglob("*.py"))
    named = set(re.findall(r"nevent: (\w+)", code)) | set(
        re.findall(r'_frame\([\w.]+, "(\w+)"', code)
    )
    stored = (ROOT / "tasks" / "store" / "verbs.py").read_text() + (
        ROOT / "api" / "events.py"
    ).read_text()
    named |= set(re.findall(r'"(progress|output|truncated)"', stored))
    assert listed == named | {"status"}


def test_every_field_of_a_webhook_is_there() -> None:
    page = (ROOT / "docs" / "reference" / "events.md").read_text().partition("## The webhook")[2]
    listed = {
        name
        for cell in re.findall(r"^\| (`.*?) \|", page, re.M)
        for name in re.findall(r"`(\w+)`", cell)
    }
    assert listed == set(WebhookBody.model_fields)

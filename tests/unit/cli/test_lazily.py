"""The commands are imported when they run; until then `--help` says the same as they would."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cli.lazily import OF_A_SERVER, OF_NOTHING, WHERE, Lazily
from cli.main import app
from cli.parts import COMMANDS

ROOT = Path(__file__).parents[3]
HEAVY = (
    "redis",
    "celery",
    "fastapi",
    "torch",
    "pydantic",
    "yaml",
    "deployments",
    "workers",
    "tasks.settings",
)

PARTS = {command.__name__ for command in COMMANDS}  # `up` tells them by a variable


def group() -> Lazily:
    command = typer.main.get_command(app)
    assert isinstance(command, Lazily)
    return command


@pytest.mark.parametrize("name", WHERE)
def test_what_help_says_is_what_the_command_says(name: str) -> None:
    commands = group()
    context = typer.Context(commands)
    assert name in commands.list_commands(context)
    mentioned = commands.commands[name].help
    _, command, rest = commands.resolve_command(context, [name, "x"])
    assert command.help == mentioned and mentioned and rest == ["x"]
    assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0


@pytest.mark.parametrize("name", [*OF_A_SERVER, *OF_NOTHING])
def test_every_command_that_reaches_a_server_speaks_json(name: str) -> None:
    commands = group()
    _, command, _ = commands.resolve_command(typer.Context(commands), [name])
    for each in getattr(command, "commands", {name: command}).values():
        options = [option for parameter in each.params for option in parameter.opts]
        assert "--json" in options, f"{name} {each.name}"


@pytest.mark.parametrize("name", sorted(WHERE.keys() - OF_NOTHING.keys() - PARTS))
def test_every_command_that_uses_a_stack_takes_its_state(name: str) -> None:
    commands = group()
    _, command, _ = commands.resolve_command(typer.Context(commands), [name])
    for inner in getattr(command, "commands", {name: command}):
        words = [name] if inner == name else [name, inner]
        assert "--state" in CliRunner().invoke(app, [*words, "--help"]).stdout, words


def typed_on(page: str) -> list[str]:
    """The lines of the page's blocks that begin with `kingpost`, up to a bar."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.M | re.S)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line.partition(" | ")[0] for line in lines if line.startswith("kingpost ")]


@pytest.mark.parametrize("page", ["client.md", "running.md", "deployments.md"])
def test_every_command_of_a_page_exists_with_its_options(page: str) -> None:
    lines, commands = typed_on(page), group()
    assert len(lines) > 4
    for line in lines:
        _, *words = shlex.split(line, comments=True)
        _, command, rest = commands.resolve_command(typer.Context(commands), words)
        while rest and (inner := getattr(command, "commands", {})):
            command, rest = inner[rest[0]], rest[1:]
        known = {option for parameter in command.params for option in parameter.opts}
        given = {word.partition("=")[0] for word in rest if re.match("--?[a-z]", word)}
        assert given <= known | {"--url", "--state"}, line


def test_help_imports_no_command() -> None:
    script = """
import sys
from typer.testing import CliRunner
from cli.main import app
done = CliRunner().invoke(app, ["--help"])
assert done.exit_code == 0 and "webhook-secret" in done.stdout and "build-chain" in done.stdout
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    loaded = done.stdout.split()
    assert "cli.main" in loaded, done.stderr
    assert not [name for name in HEAVY if name in loaded]


def test_a_slip_is_told_the_nearest_command() -> None:
    said = CliRunner().invoke(app, ["depoyments"]).output
    assert "deployments" in said

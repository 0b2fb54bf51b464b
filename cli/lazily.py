"""Imports each command only when it runs, so that `kingpost --help` and every single command start fast."""

import ast
import functools
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from cli.options import with_state

# Where each command is: a function, or the `app` of a group. These use the store or the state folder, so they have --state.
OF_A_STACK = {
    "push": "cli.commands.deploy:push",
    "promote": "cli.commands.deploy:promote",
    "rollback": "cli.commands.deploy:rollback",
    "activate": "cli.commands.deploy:activate",
    "deactivate": "cli.commands.deploy:deactivate",
    "deployments": "cli.commands.deployed:deployments",
    "watch": "cli.commands.watch:watch",
    "logs": "cli.commands.logs:logs",
    "models": "cli.commands.models:list_models",
    "pause": "cli.commands.queues:pause",
    "repair": "cli.commands.repair:repair",
    "resume": "cli.commands.queues:resume",
    "keys": "cli.commands.keys:app",
    "webhook-secret": "cli.commands.webhook_secrets:app",
    "webhooks": "cli.commands.webhooks:app",
    "virtualenvs": "cli.commands.virtualenvs:app",
}
PARTS = {
    "api": "cli.parts:api",
    "replica": "cli.parts:replica",
    "node": "cli.parts:node",
    "maintenance": "cli.parts:maintenance",
    "flower": "cli.parts:flower",
}
WHERE = OF_A_STACK | PARTS


class Lazily(TyperGroup):
    """The group of all commands. A command that does not run is a placeholder with its help text."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, for `--help` and for "did you mean"."""
        self._mention_all()
        return super().list_commands(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command itself. Raises click's UsageError for an unknown name."""
        if args[0] in WHERE:
            self.commands[args[0]] = _command(args[0])
        else:
            self._mention_all()
        return super().resolve_command(ctx, args)

    def _mention_all(self) -> None:
        for name in WHERE:
            if name not in self.commands:
                self.commands[name] = TyperCommand(name, help=_help(WHERE[name]))


@functools.cache
def _command(name: str) -> Any:
    module, _, attribute = WHERE[name].partition(":")
    found = getattr(import_module(module), attribute)
    app = found if isinstance(found, typer.Typer) else typer.Typer(add_completion=False)
    if app is not found:
        app.command(name)(found)
    if name in OF_A_STACK:
        with_state(app)
    command = typer.main.get_group(app) if app is found else typer.main.get_command(app)
    command.name = name
    return command


def _help(where: str) -> str:
    """A function's docstring, or the help of a group's `app`. It reads the source and imports nothing."""
    module, _, attribute = where.partition(":")
    spec = find_spec(module)
    source = Path(spec.origin or "").read_text(encoding="utf-8") if spec else ""
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.FunctionDef) and statement.name == attribute:
            return ast.get_docstring(statement) or ""
        value = statement.value if isinstance(statement, ast.Assign) else None
        if isinstance(value, ast.Call) and attribute == "app":
            words = {keyword.arg: keyword.value for keyword in value.keywords}
            if "help" in words:
                return str(ast.literal_eval(words["help"]))
    raise LookupError(where)

"""Imports each command only when it runs, so that `kingpost --help` and every single command start fast."""

import ast
import functools
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from cli.options import with_server, with_state

USE, DEPLOY, OPERATE = "Use models", "Deploy models", "Operate"
RUN = "Run a stack, or a part of it"
PANELS = (USE, DEPLOY, OPERATE, RUN)  # in the order of `kingpost --help`
# Where each command is (a function, or the `app` of a group), and its panel in the help.
# These reach a server over HTTP, so they have --url, and --state for the local stack.
OF_A_SERVER = {
    "predict": ("cli.client.predict:predict", USE),
    "jobs": ("cli.client.jobs:app", USE),
    "queue": ("cli.client.overview:queue", USE),
    "status": ("cli.client.overview:status", USE),
    "key": ("cli.client.contexts:key", USE),
    "open": ("cli.client.opening:open_page", USE),
    "push": ("cli.commands.push:push", DEPLOY),
    "models": ("cli.commands.models:list_models", DEPLOY),
    "deployments": ("cli.commands.deployed:deployments", DEPLOY),
    "promote": ("cli.commands.promoting:promote", DEPLOY),
    "rollback": ("cli.commands.promoting:rollback", DEPLOY),
    "activate": ("cli.commands.promoting:activate", DEPLOY),
    "deactivate": ("cli.commands.promoting:deactivate", DEPLOY),
    "rm": ("cli.commands.deployed:rm", DEPLOY),
    "top": ("cli.live.top:top", OPERATE),
    "nodes": ("cli.live.nodes:nodes", OPERATE),
    "logs": ("cli.commands.logs:logs", OPERATE),
    "audit": ("cli.live.audit:audit", OPERATE),
    "doctor": ("cli.client.doctor:doctor", OPERATE),
    "pause": ("cli.commands.queues:pause", OPERATE),
    "resume": ("cli.commands.queues:resume", OPERATE),
    "keys": ("cli.commands.keys:app", OPERATE),
    "webhook-secret": ("cli.commands.webhook_secrets:app", OPERATE),
    "webhooks": ("cli.commands.webhooks:app", OPERATE),
}
# These use the store or the state folder, so they have --state.
OF_A_STACK = {
    "watch": ("cli.commands.watch:watch", DEPLOY),
    "repair": ("cli.commands.repair:repair", OPERATE),
    "virtualenvs": ("cli.commands.virtualenvs:app", OPERATE),
}
# These need neither, so they have no option that names one.
OF_NOTHING = {
    "login": ("cli.client.contexts:login", USE),
    "logout": ("cli.client.contexts:logout", USE),
    "contexts": ("cli.client.contexts:list_contexts", USE),
    "use": ("cli.client.contexts:use", USE),
    "init": ("cli.client.init:init", DEPLOY),
}
# The processes of a stack. They take their settings from the variables.
PARTS = {
    "api": ("cli.parts:api", RUN),
    "replica": ("cli.parts:replica", RUN),
    "node": ("cli.parts:node", RUN),
    "maintenance": ("cli.parts:maintenance", RUN),
    "flower": ("cli.parts:flower", RUN),
}
WHERE = OF_NOTHING | OF_A_SERVER | OF_A_STACK | PARTS


class Lazily(TyperGroup):
    """The group of all commands. A command that does not run is a placeholder with its help text."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, for `--help` and for "did you mean", panel by panel."""
        self._mention_all()
        names = super().list_commands(ctx)
        panels = [str(getattr(self.commands[name], "rich_help_panel", RUN)) for name in names]
        return [
            name for panel in PANELS for name, at in zip(names, panels, strict=True) if at == panel
        ]

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
                where, panel = WHERE[name]
                self.commands[name] = TyperCommand(name, help=_help(where), rich_help_panel=panel)


OTHER_NAME = {"ls": "list", "list": "ls"}


class WithBothNames(TyperGroup):
    """The commands about one kind of thing. `ls` and `list` are one command, whichever of them it is called."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name. None if there is none."""
        other = OTHER_NAME.get(cmd_name, cmd_name)
        return super().get_command(ctx, cmd_name) or super().get_command(ctx, other)


@functools.cache
def _command(name: str) -> Any:
    where, panel = WHERE[name]
    module, _, attribute = where.partition(":")
    found = getattr(import_module(module), attribute)
    app = found if isinstance(found, typer.Typer) else typer.Typer(add_completion=False)
    if app is found:
        app.info.cls = WithBothNames
    else:
        app.command(name)(found)
    if name in OF_A_STACK:
        with_state(app)
    if name in OF_A_SERVER:
        with_server(app)
    command: Any = typer.main.get_group(app) if app is found else typer.main.get_command(app)
    command.name, command.rich_help_panel = name, panel
    return command


def _help(where: str) -> str:
    """A function's docstring, or the help of a group's `app`. It reads the source and imports nothing."""
    module, _, attribute = where.partition(":")
    for statement in _statements(module):
        if isinstance(statement, ast.FunctionDef) and statement.name == attribute:
            return ast.get_docstring(statement) or ""
        value = statement.value if isinstance(statement, ast.Assign) else None
        if isinstance(value, ast.Call) and attribute == "app":
            words = {keyword.arg: keyword.value for keyword in value.keywords}
            if "help" in words:
                return str(ast.literal_eval(words["help"]))
    raise LookupError(where)


@functools.cache
def _statements(module: str) -> list[ast.stmt]:
    """The module's source, parsed once for all commands in it."""
    spec = find_spec(module)
    source = Path(spec.origin or "").read_text(encoding="utf-8") if spec else ""
    return ast.parse(source).body

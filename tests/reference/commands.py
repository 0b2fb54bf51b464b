"""docs/reference/cli.md: every command with its arguments and options, as `--help` has them."""

import re
from collections.abc import Iterator
from typing import Any

import typer

from cli.lazily import PANELS, RUN
from cli.main import app

HEAD = """# The `kingpost` command

Every command, from its own `--help`. `make reference` writes this page. [The client and the command line](../client.md) shows how they are used.

Commands that reach a server have `--url`: without it they use `KINGPOST_URL`, then the context of `kingpost login`, then the stack of the current folder.
`--state` names the state folder of a stack on this machine. Both may stand before the command or after it. They are left out below, and so is `--help`.
"""
EVERYWHERE = {"--url", "--state", "--help"}


def page() -> str:
    """The whole page."""
    root: Any = typer.main.get_group(app)
    with root.make_context("kingpost", ["x"], resilient_parsing=True) as context:
        found = {
            name: root.resolve_command(context, [name])[1] for name in root.list_commands(context)
        }
    panels: dict[str, list[str]] = {panel: [] for panel in PANELS}
    for name, command in found.items():
        panel = getattr(command, "rich_help_panel", None)
        panels[panel if isinstance(panel, str) else RUN].append(name)
    lines = [HEAD]
    for panel, names in panels.items():
        lines.append(f"\n## {panel}\n")
        for name in names:
            lines += _lines(f"kingpost {name}", found[name])
    return "".join(lines)


def commands() -> list[str]:
    """Every command that the page has, with its group."""
    return re.findall(r"^###+ `(kingpost .*?)`$", page(), re.M)


def _lines(name: str, command: Any, level: str = "###") -> Iterator[str]:
    group = getattr(command, "commands", None)
    yield f"\n{level} `{name}`\n\n{_text(command.help or '')}\n"
    if group:
        for sub in sorted(group):
            yield from _lines(f"{name} {sub}", group[sub], "####")
        return
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [
        each
        for each in command.params
        if each.param_type_name == "option" and not EVERYWHERE & set(each.opts) and not each.hidden
    ]
    words = [_argument(each) for each in arguments]
    yield f"\n```text\n{' '.join([name, *(['[OPTIONS]'] if options else []), *words])}\n```\n"
    if arguments or options:
        yield "\n| | default | |\n|---|---|---|\n"
    for each in arguments:
        yield f"| `{_argument(each).strip('[]')}` | {_default(each)} | {_text(each.help or '')} |\n"
    for each in options:
        spelt = ", ".join(f"`{word}`" for word in [*each.opts, *each.secondary_opts])
        yield f"| {spelt} | {_default(each)} | {(_text(each.help or '') + _range(each)).strip()} |\n"


def _argument(each: Any) -> str:
    word = (each.metavar or each.name).upper().strip("[]").removesuffix("...")
    word += "..." if each.nargs == -1 else ""
    return word if each.required else f"[{word}]"


def _range(each: Any) -> str:
    least, most = each.min, each.max
    if least is None and most is None:
        return ""
    if most is None:
        return f" {least} or more."
    return f" From {least} to {most}." if least is not None else f" {most} at most."


def _default(each: Any) -> str:
    default = each.default
    if not each.show_default or default in (None, False, "") or callable(default):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _text(text: str) -> str:
    """One line, which a table may have."""
    return re.sub(r"\s+", " ", text).strip().replace("|", r"\|")

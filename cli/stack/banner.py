"""The text that `kingpost up` prints when everything is loaded."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from cli.stack.flower import USER
from cli.stack.found import Broken, example_of
from cli.stack.ports import url
from deployments.chains import member_of
from deployments.packages.package import Package
from tasks.process.descriptors import too_low
from tasks.settings import Settings

if TYPE_CHECKING:
    from cli.stack.up import Choices

MOST_EXAMPLE = 2000  # characters; a longer example input is shown as {}


def flower_url(choices: "Choices") -> str | None:
    """The address of Flower, None without Flower."""
    if choices.flower_port is None:
        return None
    return url(choices.host, choices.flower_port)


@dataclass(frozen=True)
class Outcome:
    """How the start went. `seconds` is how long it took.

    `pushed` are the names of models that were pushed and have no folder here, `example` is the example input of the first of them.
    """

    packages: list[Package]
    pushed: list[str]
    broken: list[Broken]
    seconds: float
    new_key: str | None
    example: object = None


def ready(choices: "Choices", settings: Settings, outcome: Outcome) -> str:
    """The block that begins with `Kingpost is ready`."""
    state = settings.state_dir
    failed = {broken.name for broken in outcome.broken}
    public = [
        package
        for package in outcome.packages
        if (of := member_of(package)) is None or of.kind == "chain"
    ]
    public = [package for package in public if package.model_name not in failed]
    names = [package.model_name for package in public] + outcome.pushed
    api = url(choices.host, choices.port)
    lines = [f"Kingpost is ready after {outcome.seconds:.1f} s: {api}"]
    lines.append(f"  Models   {', '.join(names) or 'none yet'}")
    lines += _limits(public, settings)
    if settings.console:
        lines.append(f"  Console  {api}/ui shows what runs and waits, and why")
    lines.append(f"  API      {api}/docs describes it")
    if flower := flower_url(choices):
        lines.append(f"  Flower   {flower}")
        lines.append(f"           user {USER}, password in {short(state / 'flower_password')}")
    lines.append(f"  API key  in {short(state / 'api_key')}")
    if outcome.new_key:
        lines.append(f"           {outcome.new_key}  (shown only this once)")
    if names:
        given = example_of(public[0]) if public else outcome.example or {}
        lines.append("  Try      " + _example(api, state, names[0], given))
    else:
        lines.append("  Next     in another terminal, with the folder of a Truss package for DIR:")
        lines.append(f"           kingpost push DIR --state {shlex.quote(str(state))}")
    lines.append("  Ctrl-C   drains and stops")
    return "\n".join(lines + broken(outcome.broken))


def broken(found: Sequence[Broken]) -> list[str]:
    """The block that names each broken folder and its reason."""
    if not found:
        return []
    lines = ["Broken and left out, while all else works:"]
    for entry in found:
        lines.append(f"  {entry.name} ({short(entry.folder)})")
        lines += [f"    {line}" for line in entry.reason.splitlines()]
    return lines


def _limits(packages: Sequence[Package], settings: Settings) -> list[str]:
    """The limits of the packages' config.yaml files, and of a machine that allows few connections."""
    said = [
        f"{package.model_name}: {warning}" for package in packages for warning in package.warnings
    ]
    said += filter(None, [too_low(settings.max_connections)])
    heads = ["  Limits   "] + ["           "] * len(said)
    return [head + line for head, line in zip(heads, said, strict=False)]


def _example(api: str, state: Path, name: str, given: object) -> str:
    body = json.dumps({"model_input": given, "priority": 0})
    if len(body) > MOST_EXAMPLE:
        body = json.dumps({"model_input": {}, "priority": 0})
    call = f"{api}/models/{quote(name, safe='')}/production/async_predict"
    key = f'"Authorization: Api-Key $(cat {short(state / "api_key")})"'
    return f"curl -H {key} \\\n           {call} \\\n           -d {shlex.quote(body)}"


def short(path: Path) -> str:
    """The path as it can be pasted into a shell in this folder."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))

"""What `kingpost up` says when everything is loaded."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from cli.flower import USER
from cli.ports import url
from deployments.chains import member_of
from deployments.package import Package
from tasks.settings import Settings

if TYPE_CHECKING:
    from cli.up import Choices


def flower_url(choices: "Choices") -> str | None:
    """Where Flower is, None without it."""
    if choices.flower_port is None:
        return None
    return url(choices.host, choices.flower_port)


def ready(
    choices: "Choices", settings: Settings, packages: list[Package], new_key: str | None
) -> str:
    """The block that begins with `Kingpost is ready`."""
    state = settings.state_dir
    public = [one for one in packages if (of := member_of(one)) is None or of.kind == "chain"]
    names = ", ".join(package.model_name for package in public)
    api = url(choices.host, choices.port)
    lines = [f"Kingpost is ready: {api}  (models: {names}; API docs: /docs)"]
    flower = flower_url(choices)
    if flower:
        lines.append(
            f"  Flower   {flower}  (user {USER}, password in {_short(state / 'flower_password')})"
        )
    lines.append(f"  API key  in {_short(state / 'api_key')}")
    if new_key:
        lines.append(f"           {new_key}  (shown this once)")
    lines.append("  Try      " + _example(api, state, public[0]))
    lines.append("  Ctrl-C   drains and stops")
    return "\n".join(lines)


def _example(api: str, state: Path, package: Package) -> str:
    given = package.model_metadata.get("example_model_input", {})
    body = shlex.quote(json.dumps({"model_input": given, "priority": 0}))
    call = f"{api}/models/{quote(package.model_name, safe='')}/production/async_predict"
    return f'curl -H "Authorization: Api-Key $(cat {_short(state / "api_key")})" \\\n           {call} -d {body}'


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)

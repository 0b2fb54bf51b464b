"""Writes a call as it is made without the console: by curl, in Python, with `kingpost`. The text works when it is pasted."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast
from urllib.parse import quote

How = Literal["sync", "stream", "async"]
LONGEST = 2000  # characters of an input in a command; a longer one is a file beside it
FILE = "input.json"


@dataclass(frozen=True)
class Called:
    """A call of a model: the address of the server, the model's name, and how it is called. `text` is the input as JSON."""

    base: str
    name: str
    deployment_id: str
    text: str
    how: How = "async"
    level: int = 0

    @property
    def url(self) -> str:
        """The address of the call, quoted for a shell: a name is any printable text."""
        route = "async_predict" if self.how == "async" else "predict"
        model = f"{self.base}/models/{quote(self.name, safe='')}"
        return shlex.quote(f"{model}/deployment/{self.deployment_id}/{route}")


def calls(called: Called) -> Mapping[str, str]:
    """The texts to paste, by tool: curl, Python and kingpost. They read a long input, or one that is no JSON, from `input.json`."""
    try:
        in_file = len(called.text) > LONGEST
        literal = "" if in_file else _literal(json.loads(called.text))
    except (ValueError, RecursionError):
        literal, in_file = "", True
    return {
        "curl": _curl(called, in_file),
        "Python": _python(called, literal, in_file),
        "kingpost": _kingpost(called, in_file),
    }


def _curl(called: Called, in_file: bool) -> str:
    options = "-N " if called.how == "stream" else ""
    head = f'curl {options}{called.url} -H "Authorization: Api-Key $KINGPOST_API_KEY"'
    if called.how == "sync":
        head += " -H 'Accept: application/json'"
    if called.how != "async":
        return f"{head} -d " + (f"@{FILE}" if in_file else shlex.quote(called.text))
    before, after = '{"model_input": ', f', "priority": {called.level}}}'
    if in_file:
        parts = f"printf %s {shlex.quote(before)}; cat {FILE}; printf %s {shlex.quote(after)}"
        return f"{{ {parts}; }} | {head} -d @-"
    return f"{head} -d {shlex.quote(before + called.text + after)}"


def _python(called: Called, literal: str, in_file: bool) -> str:
    lines = ["from kingpost import Client", ""]
    if in_file:
        lines = ["import json", "", *lines, f'with open("{FILE}") as file:', "    given = json.load(file)"]  # fmt: skip
        literal = "given"
    call = f"({called.name!r}, {literal}, deployment={called.deployment_id!r}"
    client = f"client = Client({called.base!r})  # the key is in KINGPOST_API_KEY"
    if called.how == "async":
        lines_of_call = [
            f"job = client.submit{call}, priority={called.level})",
            "print(job.result())",
        ]
    elif called.how == "stream":
        lines_of_call = [
            f"for text in client.stream{call}):",
            '    print(text, end="", flush=True)',
        ]
    else:
        lines_of_call = [f"print(client.run{call}))"]
    return "\n".join([*lines, client, *lines_of_call])


def _literal(value: Any) -> str:
    """The value in Python. JSON of a model's caller may hold NaN and infinities, which are no literals."""
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value).items()
        return "{" + ", ".join(f"{name!r}: {_literal(part)}" for name, part in members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, cast("list[Any]", value))) + "]"
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return f'float("{value}")'
    return repr(value)


def _kingpost(called: Called, in_file: bool) -> str:
    queued = f" --async --priority {called.level}" if called.how == "async" else ""
    options = f"--url {called.base} --deployment {called.deployment_id}{queued} -i "
    before = ""
    if in_file:
        options += f"@{FILE}"
    elif called.text.lstrip()[:1] in ("{", "[", '"'):
        options += shlex.quote(called.text)
    else:  # `kingpost predict` would read a bare number or word as KEY=VALUE, so it comes by stdin
        before, options = f"echo {shlex.quote(called.text)} | ", f"{options}@-"
    if called.name.startswith("-"):
        return f"{before}kingpost predict {options} -- {shlex.quote(called.name)}"
    return f"{before}kingpost predict {shlex.quote(called.name)} {options}"

"""`kingpost init`: a new package from a template."""

import json
import shlex
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from cli.options import AsJson
from kingpost.errors import Error

TEMPLATES = Path(str(files("cli"))) / "templates"
EXAMPLES = {
    "minimal": "-i name=Ada",
    "diffusers": "-i prompt='a red fox in the snow' -o fox.png",
    "llm": "-i prompt='Why is the sky blue?'",
    "embeddings": '-i input=\'["a text", "another text"]\'',
    "custom-server": "-i name=Ada",
}
NAMES = ", ".join(EXAMPLES)


class InitRefused(Error):
    """The package cannot be made there."""


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the new package.")],
    template: Annotated[str, typer.Option(help=f"One of {NAMES}.")] = "minimal",
    as_json: AsJson = False,
) -> None:
    """Makes a package that can be pushed as it is. The model gets the name of the folder."""
    if template not in EXAMPLES:
        raise InitRefused(f"There is no template {template!r}; there are {NAMES}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InitRefused(f"{folder} exists and is not an empty folder; name a new one.")
    source, name = TEMPLATES / template, folder.absolute().name
    written: list[str] = []
    for path in sorted(source.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            target = folder / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_named(path.read_text(encoding="utf-8"), name), encoding="utf-8")
            written.append(str(target))
    if as_json:
        print(json.dumps({"model": name, "files": written}))
        return
    print(f"{folder} has the model {name}:")
    for line in written:
        print(f"  {line}")
    print(f"Deploy it:  kingpost push {shlex.quote(str(folder))}")
    print(f"Call it:    kingpost predict {shlex.quote(name)} {EXAMPLES[template]}")


def _named(text: str, name: str) -> str:
    """The text of a template, with the model's name."""
    return text.replace("MODEL_NAME", json.dumps(name, ensure_ascii=False))

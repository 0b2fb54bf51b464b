"""The input of `kingpost predict`, from its `-i` options."""

import base64
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from kingpost.errors import Error
from tasks.outside_text import printable
from tasks.process.variables import editor

if TYPE_CHECKING:
    from kingpost import Client, FileRef

STDIN = "-"


class BadInput(Error):
    """An input cannot be read."""


class LargeFile:
    """A file that is uploaded, so that the input can refer to it. Raises BadInput if it cannot be read."""

    def __init__(self, name: str) -> None:
        self.path = Path(name)
        if not self.path.is_file():
            raise BadInput(f"There is no file {name}.")


def with_files(value: Any, server: "Client") -> Any:
    """The input with a reference in place of each LargeFile, which is uploaded now."""
    if not isinstance(value, dict):
        return value  # a LargeFile is only made by KEY=@@FILE, so it is in an object
    members = cast("dict[str, Any]", value)
    return {
        key: _upload(member.path, server) if isinstance(member, LargeFile) else member
        for key, member in members.items()
    }


def _upload(path: Path, server: "Client") -> "FileRef":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TransferSpeedColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(24), TransferSpeedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(f"uploading {printable(path.name)}", total=None)

        def show(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        return server.upload(path, progress=show)


def model_input(given: Sequence[str]) -> Any:
    """The input from `KEY=VALUE`, `KEY=@FILE`, `KEY=@@FILE`, `@FILE.json`, `@-` and JSON. Without any it is `{}`. Raises BadInput.

    `KEY=@@FILE` becomes a LargeFile, which `with_files` uploads later. Objects are merged, and a later option wins. Anything but an
    object has to be the only option.
    """
    merged: dict[str, Any] = {}
    for text in given:
        value = _parsed_option(text)
        if not isinstance(value, dict):
            if len(given) > 1:
                raise BadInput(f"-i {text} is not an object, so it cannot be joined with others.")
            return value
        merged |= cast("dict[str, Any]", value)
    return merged


def changed(old: Any, change: Any, edit: bool) -> Any:
    """The input `old` with a change. Objects are merged, anything else replaces it, and None changes nothing. With `edit`, the user edits it then.

    Raises BadInput for an edit of bytes, and for what is not JSON after the edit.
    """
    new: Any = change if change is not None else old
    if isinstance(change, dict) and isinstance(old, dict):
        new = cast("dict[str, Any]", old) | cast("dict[str, Any]", change)
    if not edit:
        return new
    if isinstance(new, bytes):
        raise BadInput("The input is not JSON, so it cannot be edited.")
    return edited(new)


def edited(value: Any) -> Any:
    """The value as the user leaves it in $VISUAL or $EDITOR. Raises BadInput if that is no JSON, or nothing was saved."""
    command = editor()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "input.json"
        path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")
        before = path.stat()
        try:
            done = subprocess.run([*shlex.split(command), str(path)], check=False)
        except (OSError, ValueError) as error:
            message = f"The editor {command!r} cannot be started ({error}); set EDITOR."
            raise BadInput(message) from None
        after = path.stat()
        saved = (before.st_mtime_ns, before.st_ino) != (after.st_mtime_ns, after.st_ino)
        if done.returncode or not saved:
            raise BadInput("The input was not saved, so nothing runs.")
        return _parsed(path.read_bytes(), "The input")


def _parsed_option(text: str) -> Any:
    """The value of one -i option. Raises BadInput."""
    if text.startswith("@"):
        return _json_of(text[1:])
    if text.lstrip()[:1] in ("{", "[", '"'):
        return _parsed(text, f"-i {text}")
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise BadInput(f"-i {text} is neither KEY=VALUE, @FILE.json nor JSON.")
    return {key: _value(value)}


def _value(text: str) -> Any:
    """JSON if it is JSON, the content of a file for `@FILE`, a file to upload for `@@FILE`, else the text itself."""
    if text.startswith("@@"):
        return LargeFile(text[2:])
    if text.startswith("@"):
        name = text[1:]
        if name.lower().endswith(".json"):
            return _json_of(name)
        return base64.b64encode(_content(name)).decode()
    try:
        return json.loads(text)
    except ValueError:
        return text


def _json_of(name: str) -> Any:
    return _parsed(_content(name), "The input" if name == STDIN else name)


def _parsed(text: str | bytes, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadInput(f"{what} is not JSON: {error}.") from None


def _content(name: str) -> bytes:
    """The bytes of a file, or of stdin for `-`. Raises OSError."""
    return sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()

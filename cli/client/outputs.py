"""What `kingpost predict` does with an output: shows it, or writes the files in it."""

import base64
import binascii
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from kingpost.errors import Error
from kingpost.records import Output
from tasks.outside_text import printable

if TYPE_CHECKING:
    from kingpost import Client

Out = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="File for the output; images and sounds in JSON are decoded."
    ),
]
DATA_URL = re.compile(r"data:[\w.+/-]*(?:;[\w=-]+)*;base64,", re.I)
BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
# How files begin that models make: PNG, JPEG, GIF, RIFF (WebP, WAV), BMP, TIFF, PDF, ZIP, gzip, MP3, Ogg, FLAC, Matroska.
BEGINNINGS = (
    b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*", b"%PDF", b"PK\3\4",
    b"\x1f\x8b", b"ID3", b"\xff\xfb", b"OggS", b"fLaC", b"\x1a\x45\xdf\xa3",
)  # fmt: skip
MP4 = b"ftyp"  # the fifth to eighth byte of an MP4
DEEPEST = 20  # levels of JSON that are searched


class CannotShow(Error):
    """The output is no text, so a terminal cannot show it; write it with -o FILE, or into a pipe."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


def write(output: Output, out: Path, server: "Client | None" = None) -> list[Path]:
    """Writes the output into a file and returns the paths that it wrote.

    Base64 in JSON is decoded: a file for each image, sound or document in it. A reference to a file of the output is downloaded from
    the server. Several files get numbers in their names. JSON without such a file is written as it is, and so is every output if
    the name ends in `.json`.
    """
    contents: list[bytes | str] = [output.content]
    if output.is_json and out.suffix.lower() != ".json":
        contents = list(_files_in(output.value, DEEPEST, server is not None)) or contents
    names = [out]
    if len(contents) > 1:
        names = [out.with_stem(f"{out.stem}-{number}") for number in range(1, len(contents) + 1)]
    for name, content in zip(names, contents, strict=True):
        if isinstance(content, bytes):
            name.write_bytes(content)
        elif server:
            server.download(content, name)
    return names


def text_of(output: Output) -> str:
    """The output for a terminal: JSON in lines, text as it is. Raises CannotShow for bytes."""
    if output.is_json:
        value = output.value
        return printable(value) if isinstance(value, str) else json.dumps(value, indent=2)
    try:
        text = output.content.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise CannotShow
    return printable(text)


def finish(
    output: Output, out: Path | None, as_json: bool, server: "Client", request_id: str = ""
) -> None:
    """Writes an output that is complete into `out`, or shows it. Raises CannotShow, OSError and ApiError."""
    paths = [str(path) for path in write(output, out, server)] if out else []
    if as_json:
        said: dict[str, Any] = {"content_type": output.content_type, "bytes": len(output.content)}
        said |= {"request_id": request_id} if request_id else {}
        said |= {"files": paths} if out else {"output": _as_json_holds(output)}
        print(json.dumps(said))
    elif out:
        for path in paths:
            print(path)
    elif output.is_json or sys.stdout.isatty():
        print(text_of(output))
    else:
        sys.stdout.buffer.write(output.content)


def _as_json_holds(output: Output) -> Any:
    """The output as JSON can hold it: text if it is text, else base64."""
    if output.is_json:
        return output.value
    try:
        return output.content.decode()
    except UnicodeDecodeError:
        return base64.b64encode(output.content).decode()


def _files_in(value: Any, depth: int, linked: bool) -> Iterator[bytes | str]:
    """The contents of the files in a JSON value, in its order. With `linked`, also the URLs of files that are on the server."""
    if isinstance(value, str):
        if (content := _decoded(value)) is not None:
            yield content
    elif linked and (url := _url_of(value)) is not None:
        yield url
    elif depth:
        inner: list[Any] = []
        if isinstance(value, dict):
            inner = list(cast("dict[str, Any]", value).values())
        elif isinstance(value, list):
            inner = cast("list[Any]", value)
        for part in inner:
            yield from _files_in(part, depth - 1, linked)


def _url_of(value: Any) -> str | None:
    """The URL of a file of the output, if the value stands for one."""
    if not isinstance(value, dict):
        return None
    members = cast("dict[str, Any]", value)
    ref, url = members.get("$ref"), members.get("url")
    known = isinstance(ref, str) and isinstance(url, str) and url.startswith("/v1/files/")
    return cast(str, url) if known else None


def _decoded(text: str) -> bytes | None:
    """The bytes of a data URL, or of base64 that begins as a file does."""
    url = DATA_URL.match(text)
    encoded = text[url.end() :] if url else text
    if len(encoded) % 4 or not BASE64.fullmatch(encoded):
        return None
    try:
        content = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return None
    is_file = content.startswith(BEGINNINGS) or content[4:8] == MP4
    return content if url or is_file else None

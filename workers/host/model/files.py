"""Files in the output of a model: images, bytes and paths, if the caller asked for them by URL."""

import io
import sys
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel

from deployments.attached import reference
from deployments.output_files import MOST, Link
from workers.host.errors import OutputFile


def taken_out(result: Any, link: Link) -> tuple[Any, tuple[OutputFile, ...]]:
    """The output with a reference and a URL in place of each file, and the files.

    Raises TypeError for more than MOST files, and OSError for a path that cannot be read.
    """
    files: list[OutputFile] = []

    def placed(value: Any) -> Any:
        if (file := _file_of(value)) is not None:
            if len(files) == MOST:
                raise TypeError(f"An output may have {MOST} files at most.")
            files.append(file)
            number = len(files) - 1
            return {**reference(link.id_of(number)), "url": link.url_of(number), "size": file.size}
        if isinstance(value, BaseModel):
            value = value.model_dump(mode="python")
        if isinstance(value, dict):
            return {key: placed(member) for key, member in cast("dict[Any, Any]", value).items()}
        if isinstance(value, (list, tuple)):
            return [placed(member) for member in cast("list[Any]", value)]
        return value

    return placed(result), tuple(files)


def _file_of(value: Any) -> OutputFile | None:
    """The file that this value is, None if it is none. Raises OSError for a path that cannot be read."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        content = bytes(value)
        return OutputFile(len(content), content)
    if isinstance(value, Path):
        return OutputFile(value.stat().st_size, value)
    images = sys.modules.get("PIL.Image")  # who returns an image has imported it
    if images is not None and isinstance(value, images.Image):
        out = io.BytesIO()
        value.save(out, "PNG")
        content = out.getvalue()
        return OutputFile(len(content), content)
    return None

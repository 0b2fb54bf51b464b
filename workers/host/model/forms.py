"""Forms (multipart/form-data), as OpenAI's clients send sound and images, and sound as an output."""

import io
from collections.abc import Mapping
from typing import cast

from starlette.datastructures import Headers, UploadFile
from starlette.responses import Response

from deployments import forms
from workers.host.call.call import ModelCall
from workers.host.errors import InputParsingError

Field = str | UploadFile
SOUND: Mapping[str, str] = {  # the content types of OpenAI's `response_format`
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}


def form_of(call: ModelCall) -> dict[str, Field | list[Field]] | None:
    """The fields of a form: text, or a starlette UploadFile. None if the body is no form. Raises InputParsingError.

    A field that comes several times is a list. So is one whose name ends in `[]`, and the name is then without it.
    """
    boundary = forms.boundary_of(call.headers.get("content-type", ""))
    if boundary is None:
        return None
    form: dict[str, Field | list[Field]] = {}
    try:
        for part in forms.parts(call.body, boundary):
            _add(form, part.name, _field(part, call.body[part.place]))
    except forms.FormError as error:
        raise InputParsingError(f"Invalid form: {error}.") from error
    return form


def as_sound(result: object, asked: object) -> object:
    """Bytes as an answer with the content type of the `response_format` that was asked for. Any other result stays."""
    if not isinstance(result, bytes):
        return result
    name = (
        cast("dict[str, object]", asked).get("response_format") if isinstance(asked, dict) else ""
    )
    return Response(result, media_type=SOUND.get(str(name), SOUND["mp3"]))


def _field(part: forms.Part, content: bytes) -> Field:
    if part.filename is None:
        return content.decode(errors="replace")
    headers = Headers({"content-type": part.content_type or "application/octet-stream"})
    return UploadFile(
        io.BytesIO(content), size=len(content), filename=part.filename, headers=headers
    )


def _add(form: dict[str, Field | list[Field]], name: str, field: Field) -> None:
    key = name.removesuffix("[]")
    known = form.get(key)
    if known is None:
        form[key] = [field] if key != name else field
    elif isinstance(known, list):
        known.append(field)
    else:
        form[key] = [known, field]

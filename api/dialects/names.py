"""The field `model` of a body, JSON or a form: what it says, and the body with another name there."""

import json
from dataclasses import dataclass

from starlette.requests import Request

from api import body as bodies
from api.problems import Problem
from api.top_level import Reader
from deployments.forms import FormError, boundary_of, parts
from tasks.outside_text import text_of, whole_number

LONGEST = 400  # bytes of a name in a form


@dataclass(frozen=True)
class Found:
    """The name in a body, '' if there is none; where it is, with the quotes of JSON; and the body in UTF-8 if it was not."""

    name: str = ""
    place: slice | None = None
    quoted: bool = True
    body: bytes | None = None

    def renamed(self, body: bytes, heard: str) -> bytes:
        """The body with that name; '' leaves it."""
        body = body if self.body is None else self.body
        if not heard or self.place is None:
            return body
        written = json.dumps(heard) if self.quoted else heard
        return b"".join([body[: self.place.start], written.encode(), body[self.place.stop :]])


async def model_in(request: Request, body: bytes) -> Found:
    """The name of the model in the body. Raises Problem 400 for a body that is no JSON object or form."""
    boundary = boundary_of(request.headers.get("content-type", ""))
    if boundary is not None:
        return _in_form(body, boundary)
    body = bodies.as_utf8(body)
    reader = Reader(body)
    name = await reader.text_of("model")
    return Found(name if isinstance(name, str) else "", reader.place, body=body)


def can_be_read(request: Request, cap: int) -> bool:
    """Whether the body has a length of at most `cap` bytes, so that it may be held to look into it."""
    declared = whole_number(request.headers.get("content-length", ""))
    return declared is not None and declared <= cap


def _in_form(body: bytes, boundary: bytes) -> Found:
    try:
        for part in parts(body, boundary):
            size = part.place.stop - part.place.start
            if part.name == "model" and part.filename is None and size <= LONGEST:
                return Found(text_of(body[part.place]), part.place, quoted=False)
    except FormError as error:
        raise Problem(400, "client_error", f"Invalid form: {error}.") from None
    return Found()

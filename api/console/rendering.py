"""Renders the templates. Whatever a model or a client has written is escaped, and no page runs a script but our own."""

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from api.console import sparklines
from api.console.sessions import Viewer
from api.schemas import AttemptView, time_of
from deployments.registry.autoscaling import RANGES
from kingpost.records import WAITS
from tasks.outside_text import printable

STATIC = Path(__file__).parent / "static"
MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
LEVEL_NAMES = {0: "high", 1: "medium", 2: "low"}
# After the name of a setting; that of a percentage without the word in its name.
AUTOSCALING_UNITS = {
    "autoscaling_window": ", s",
    "scale_down_delay": ", s",
    "max_scale_down_rate": ", %",
}
MOST_VERSIONS = 8  # of a model that a request can be moved to by a button, the newest
PIECES = 100  # of a template that are rendered at a time: it takes about half a millisecond
MOST_FOLLOWING = 20  # webhooks on their way in a page, the next
MOST_ATTEMPTS = 10  # of a webhook, the latest
MOST_SHOWN = 200_000  # characters of a text in a page; the rest is a download
SECURITY = {  # the server adds nosniff to every answer
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
VARY = {"vary": "HX-Request"}


def _printable(value: Any) -> Any:
    """What a template writes: text without control characters. Markup is left alone, because it was made of such text."""
    return printable(value) if type(value) is str else value


TEMPLATES = Environment(
    loader=PackageLoader("api.console"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=_printable,
)


def is_part(request: Request) -> bool:
    """Whether only what changes on a page is asked for."""
    return request.headers.get("hx-request") == "true"


async def page(
    request: Request, template: str, viewer: Viewer | None, status: int = 200, **values: Any
) -> Response:
    """A page, or only its live part if a page asks for that (`HX-Request`)."""
    part = "live" if is_part(request) else None
    context = {"viewer": viewer, "path": request.url.path, "query": request.url.query}
    context |= {"asset": asset}
    found = TEMPLATES.get_template(template)
    if part and part in found.blocks:
        pieces = found.blocks[part](found.new_context(context | values))
    else:
        pieces = found.generate(context | values)
    return HTMLResponse(await _joined(pieces), status, SECURITY | VARY)


async def _joined(pieces: Iterator[str]) -> str:
    """The text. It is made bit by bit, so that a long page does not hold up other calls."""
    made: list[str] = []
    for piece in pieces:
        made.append(piece)
        if len(made) % PIECES == 0:
            await asyncio.sleep(0)
    return "".join(made)


@cache
def asset(name: str) -> str:
    """The address of a static file. It names the content, so a browser may keep it for ever."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/ui/static/{digest}/{name}"


def static(name: str) -> Response | None:
    """A static file, None if there is none of that name."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,60}", name) or not (STATIC / name).is_file():
        return None
    kind = MEDIA_TYPES.get(Path(name).suffix, "text/plain")
    kept = {"cache-control": "public, max-age=31536000, immutable"}
    return Response((STATIC / name).read_bytes(), 200, SECURITY | kept, kind)


def pretty(raw: bytes | str) -> str:
    """JSON with indents, or the text as it is; long ones are cut."""
    words = raw.decode(errors="replace") if isinstance(raw, bytes) else raw
    if len(words) <= MOST_SHOWN:
        with contextlib.suppress(ValueError, RecursionError):
            words = json.dumps(json.loads(words), indent=2, ensure_ascii=False)
    if len(words) > MOST_SHOWN:
        words = words[:MOST_SHOWN] + "\n[cut here; the download has all of it]"
    return printable(words)


def seconds(value: float | None, digits: int = 3) -> str:
    """A duration in seconds, with the unit that fits; '' for None."""
    if value is None:
        return ""
    for unit, length in (("h", 3600), ("min", 60)):
        if value >= length:
            return f"{value / length:.{digits}g} {unit}"
    return f"{value:.{digits}g} s"


def about(value: float | None) -> str:
    """An estimated duration in seconds: the same with two digits."""
    return seconds(value, 2)


def milliseconds(value: float | None) -> str:
    """A duration in milliseconds, with the unit that fits; '' for None."""
    return "" if value is None else f"{value:.3g} ms" if value < 1000 else seconds(value / 1000)


def percent(value: float) -> str:
    """A share, which is in percent already. One above 0 does not read as 0 %."""
    return "under 1 %" if 0 < value < 1 else f"{value:.0f} %"


def gib(count: int) -> str:
    """A number of bytes in GiB, or in MiB below one GiB."""
    return f"{count / 2**30:.3g} GiB" if count >= 2**30 else f"{count / 2**20:.3g} MiB"


def state(status: str) -> str:
    """A status of the API in words: those of the command line."""
    return "asleep" if status == "SCALED_TO_ZERO" else status.lower().replace("_", " ")


FILTERS: dict[str, Any] = {
    "state": state,
    "at": time_of,
    "attempt": AttemptView.model_validate,
    "seconds": seconds,
    "milliseconds": milliseconds,
    "about": about,
    "gib": gib,
    "percent": percent,
    "line": sparklines.line,
    "bars": sparklines.bars,
}
TEMPLATES.filters.update(FILTERS)
WORDS: dict[str, Any] = {
    "WAITS": WAITS,
    "LEVELS": LEVEL_NAMES,
    "MOST_ATTEMPTS": MOST_ATTEMPTS,
    "MOST_FOLLOWING": MOST_FOLLOWING,
    "MOST_VERSIONS": MOST_VERSIONS,
    "AUTOSCALING": RANGES,
    "AUTOSCALING_UNITS": AUTOSCALING_UNITS,
}
TEMPLATES.globals.update(WORDS)
# Globals, because a live part that is rendered alone does not run the imports of its template.
PARTS: dict[str, Any] = vars(TEMPLATES.get_template("parts.html").module)
TEMPLATES.globals.update({name: part for name, part in PARTS.items() if not name.startswith("_")})

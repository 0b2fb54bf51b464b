"""Parts of pages that change: rendered once for all who look at the same page and may see the same, and sent only if they differ."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from fastapi import Request
from starlette.responses import Response

from api.console.live.pulse import Pulse
from api.console.rendering import SECURITY, VARY, is_part
from api.console.sessions import Viewer
from tasks.errors import KingpostError
from tasks.outside_text import whole_number

PULSE_HEADER = "x-kingpost-pulse"  # the change that a page wants to see, as the stream of changes has numbered it
SEEN_HEADER = "x-kingpost-seen"  # what a page shows: the digest of the part
TIMING_HEADER = (
    "server-timing"  # how long the part took to render, which browsers show with the call
)
MOST_PARTS = 64  # that are kept; the one that was asked for longest ago goes first
Render = Callable[[Viewer], Awaitable[Response]]


@dataclass
class _Part:
    """A part as it was at the change `number`. The first call that needs a newer one renders it under the lock. Others wait."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    number: int = -1
    body: bytes = b""
    digest: str = ""
    took_ms: float = 0.0  # the rendering
    failed: KingpostError | None = None


class Parts:
    """The parts of an API process."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._kept: OrderedDict[object, _Part] = OrderedDict()

    async def shown(self, request: Request, viewer: Viewer, render: Render) -> Response:
        """The page, or its part. Only a part that follows a change is shared, and only among viewers who see the same."""
        number = whole_number(request.headers.get(PULSE_HEADER, ""))
        if number is None or not is_part(request):
            return await render(viewer)
        part = self._part((request.url.path, request.url.query, viewer.sees))
        failed_before = part.failed
        async with part.lock:
            if part.failed is not failed_before and part.failed:
                raise part.failed  # the call before has just met it; else each waiting call would try in turn
            if part.number < number and (other := await self._renew(part, viewer, render)):
                return other
        said = {SEEN_HEADER: part.digest, TIMING_HEADER: f"render;dur={part.took_ms:.2f}"}
        return Response(part.body, 200, SECURITY | VARY | said, "text/html")

    async def _renew(self, part: _Part, viewer: Viewer, render: Render) -> Response | None:
        """Renders the part and keeps it. Returns an answer that is no part (an error, say), which is not shared; else None."""
        began = time.perf_counter()
        number = self._pulse.number  # what changes while this renders gets a higher one
        try:
            response = await render(replace(viewer, csrf=""))  # nothing of a session is shared
        except KingpostError as error:
            part.failed = error
            raise
        if response.status_code != 200:
            return response
        part.number, part.body = number, bytes(response.body)
        part.digest = digest_of(part.body)
        part.took_ms = (time.perf_counter() - began) * 1000
        return None

    def _part(self, what: object) -> _Part:
        part = self._kept.setdefault(what, _Part())
        self._kept.move_to_end(what)
        while len(self._kept) > MOST_PARTS:
            self._kept.popitem(last=False)
        return part


def digest_of(body: bytes) -> str:
    """Different for parts that differ: 32 hex digits."""
    return hashlib.sha256(body).hexdigest()[:32]


def only_if_changed(request: Request, response: Response) -> Response:
    """The part with its digest; nothing (204) for a page that shows the same already."""
    if response.status_code != 200 or not is_part(request):
        return response
    digest = response.headers.get(SEEN_HEADER) or digest_of(bytes(response.body))
    if request.headers.get(SEEN_HEADER) == digest:
        kept = {
            name: response.headers[name] for name in (TIMING_HEADER,) if name in response.headers
        }
        return Response(status_code=204, headers=SECURITY | VARY | kept | {SEEN_HEADER: digest})
    response.headers[SEEN_HEADER] = digest
    return response


async def shared(request: Request, viewer: Viewer, render: Render) -> Response:
    """`Parts.shown` of this process."""
    parts: Parts = request.app.state.parts
    return await parts.shown(request, viewer, render)

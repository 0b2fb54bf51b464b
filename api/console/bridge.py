"""The REST API for pages of the console: `/ui/api/...` is the same route, called with the key of the session.

So a page can do what a key can do, by the same code, and nothing else.
"""

import re
from functools import partial

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.console.sessions import CSRF_HEADER, check_not_forged, viewer_in
from api.gateway import SESSION_HOLDS, SESSION_KEY
from api.problems import Problem, of_error, unauthorized
from tasks.errors import KingpostError

PREFIX = "/ui/api"
# Headers of a request that go no further: a model must not see the session, and no header may name another key.
DROPPED = {b"cookie", b"authorization", b"x-api-key", CSRF_HEADER.encode()}
# Headers of every answer. A model's answer must not set cookies, or be a document or a script of the console's origin.
HARMLESS = [
    (b"content-security-policy", b"sandbox; default-src 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
REPLACED = {b"set-cookie", b"service-worker-allowed", *(name for name, _ in HARMLESS)}
SCRIPT = re.compile(rb"javascript|ecmascript|jscript|livescript", re.I)


class Bridge:
    """ASGI middleware before the addressing: checks the session, then leaves a plain call of the REST API."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or refuses it."""
        if scope["type"] != "http" or not scope["path"].startswith(f"{PREFIX}/"):
            await self._app(scope, receive, send)
            return
        try:
            await _enter(scope)
        except Problem as problem:
            await problem.response(scope)(scope, receive, send)
        except KingpostError as error:
            await of_error(error).response(scope)(scope, receive, send)
        else:
            await self._app(scope, receive, _guarded(send))


def _guarded(send: Send) -> Send:
    """Sends answers with the HARMLESS headers."""

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message["headers"] if pair[0].lower() not in REPLACED]
            message["headers"] = [*map(_no_script, kept), *HARMLESS]
        await send(message)

    return guarded


def _no_script(pair: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """The header. A content type that is a script becomes plain text."""
    is_script = pair[0].lower() == b"content-type" and SCRIPT.search(pair[1])
    return (pair[0], b"text/plain; charset=utf-8") if is_script else pair


async def _enter(scope: Scope) -> None:
    """Makes the request a call of the REST API with the session's key. Raises Problem 401 and 403, and StoreUnavailable."""
    connection = HTTPConnection(scope)
    viewer = await viewer_in(connection)
    if viewer is None:
        raise unauthorized()
    check_not_forged(connection, viewer, scope["method"])
    path: str = scope["path"]
    raw: bytes = scope.get("raw_path") or path.encode()
    scope["path"], scope["raw_path"] = path[len(PREFIX) :], raw[len(PREFIX) :]
    scope["headers"] = [pair for pair in scope["headers"] if pair[0] not in DROPPED]
    state = scope.setdefault("state", {})
    state[SESSION_KEY], state[SESSION_HOLDS] = viewer.key, partial(_holds, connection)


async def _holds(connection: HTTPConnection) -> bool:
    """Whether the session of that connection has not ended. The connection has read its cookie before it was dropped."""
    return await viewer_in(connection) is not None

"""Who looks at the console: the login by an API key, its cookie, and the token that every change has to show."""

import hmac
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Request
from starlette.requests import HTTPConnection
from starlette.responses import Response

from api.gateway import SESSION_KEY, authenticate, gateway_of, owner_for
from api.problems import Problem
from tasks.access import sessions
from tasks.api_keys import ApiKey, Need

COOKIE = "kingpost_session"
CSRF_HEADER = "x-kingpost-csrf"
SESSION_SECONDS = 12 * 3600  # 12 h, so people log in about once a day
MOST_COOKIE_CHARS = 200
SAFE = ("GET", "HEAD")  # methods that change nothing
FORGED = "This change was not asked for by a page of the console; reload the page and try again."


class LoginNeeded(Exception):
    """Nobody is logged in, or the session has ended. `path` is the page to show after the login."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


@dataclass(frozen=True)
class Viewer:
    """Who looks: the API key, and the token of the session against forged changes."""

    key: ApiKey
    csrf: str

    def may(self, need: Need) -> bool:
        """Whether the key may do this; what it may not do is not shown."""
        return self.key.may(need)

    @property
    def sees(self) -> object:
        """Equal for viewers who see the same on pages that have nothing of a session.

        These are keys of one reach that read everybody's requests. Any other key sees its own pages alone.
        """
        owner = owner_for(self.key)
        return owner, self.key.scope, self.key.models, self.key.environments


async def viewer_in(connection: HTTPConnection) -> Viewer | None:
    """Who is logged in with the cookie of this request. The key may have been revoked since the login. Raises StoreUnavailable."""
    token = connection.cookies.get(COOKIE, "")
    if not 0 < len(token) <= MOST_COOKIE_CHARS:
        return None
    gateway = gateway_of(connection)
    found = await gateway.store.run(sessions.session(token))
    key = await gateway.keys.of_id(found.key_id) if found else None
    return Viewer(key, found.csrf) if found and key and key.may("inference") else None


async def _viewer(request: Request) -> Viewer:
    viewer = await viewer_in(request)
    if viewer is None:
        query = request.url.query
        raise LoginNeeded(request.url.path + (f"?{query}" if query else ""))
    request.scope["state"][SESSION_KEY] = viewer.key  # routes that a page asks know it by this
    await authenticate(request)  # the connection counts for the key, and not as a stranger's
    return viewer


Viewing = Annotated[Viewer, Depends(_viewer)]


def check_not_forged(connection: HTTPConnection, viewer: Viewer, method: str) -> None:
    """Raises Problem 403 for a change that does not show the session's token."""
    shown = connection.headers.get(CSRF_HEADER, "")
    if method not in SAFE and not hmac.compare_digest(shown.encode(), viewer.csrf.encode()):
        raise Problem(403, "unauthorized", FORGED)


async def log_in(request: Request, response: Response, plain: str) -> bool:
    """Begins a session and sets its cookie. False for a key that does not hold, or may not use models."""
    gateway = gateway_of(request)
    key = await gateway.keys.check(plain)
    if key is None or not key.may("inference"):
        return False
    token = sessions.fresh()
    await gateway.store.run(sessions.open_session(token, key.id, SESSION_SECONDS * 1000))
    secure = request.url.scheme == "https"
    response.set_cookie(
        COOKIE, token, SESSION_SECONDS, path="/ui", secure=secure, httponly=True, samesite="strict"
    )
    return True


async def log_out(request: Request, response: Response, viewer: Viewer) -> None:
    """Ends every session of the viewer's key."""
    await gateway_of(request).store.run(sessions.close_sessions(viewer.key.id))
    response.delete_cookie(COOKIE, path="/ui")


def login_address(path: str) -> str:
    """Where to log in, to go on at that path."""
    return f"/ui/login?next={quote(path, safe='')}"

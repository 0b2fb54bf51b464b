"""Gives every answer on the Model APIs the id of its request, where the clients look for it."""

from typing import Any
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.dialects.errors import dialect_of

OURS = b"x-baseten-request-id"
THEIRS = b"x-request-id"
ANTHROPIC_S = b"request-id"


class RequestIds:
    """ASGI middleware: adds `x-request-id`, for Anthropic's clients `request-id` too, unless the model's server has set them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Calls the application. The head of its answer gets the headers."""
        dialect = dialect_of(scope["path"]) if scope["type"] == "http" else "baseten"
        if dialect == "baseten":
            await self._app(scope, receive, send)
            return
        names = (THEIRS, ANTHROPIC_S) if dialect == "anthropic" else (THEIRS,)

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": _with_ids(message.get("headers", ()), names)}
            await send(message)

        await self._app(scope, receive, named)


def _with_ids(headers: Any, names: tuple[bytes, ...]) -> list[tuple[bytes, bytes]]:
    kept = list(headers)
    known = {name.lower(): value for name, value in kept}
    own = known.get(OURS) or uuid4().hex.encode()
    return kept + [(name, own) for name in names if name not in known]

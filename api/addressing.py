"""Which model a request is for: the Host header, a path prefix, or nothing when there is one model.

`model-{id}.<anything>`, `chain-{id}.<anything>`, regional `model-{id}-{env}.<anything>` (bare paths only), or
`/models/{id-or-name}/...`, `/chains/{id-or-name}/...`. The middleware strips what it read, so that routes see
one form only.
"""

import re
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import Problem

HOST = re.compile(r"(model|chain)-([a-z0-9]+)(?:-([a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?))?\.", re.I)
PREFIX = re.compile(r"/(models|chains)/([^/]+)(/.*)")
TARGETED = ("/production/", "/development/", "/environments/", "/deployment/")
ALWAYS_BARE = ("/async_request", "/health", "/docs", "/openapi.json", "/metrics")


@dataclass(frozen=True)
class Addressed:
    """What the address said; `reference` None = the only model."""

    reference: str | None = None
    kind: str = "model"
    environment: str | None = None  # of a regional host


class Addressing:
    """ASGI middleware: leaves an `Addressed` in the scope's state and a path without it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Rewrites the path, then goes on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        try:
            addressed, path = resolve(host, scope["path"])
        except Problem as problem:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": problem.message})
            else:
                await problem.response()(scope, receive, send)
            return
        scope["path"], scope["raw_path"] = path, path.encode()
        scope.setdefault("state", {})["addressed"] = addressed
        await self._app(scope, receive, send)


def resolve(host: str, path: str) -> tuple[Addressed, str]:
    """What host and path say, and the path that routes know. Raises Problem on a regional host's target."""
    match = HOST.match(host)
    if match:
        kind, reference, environment = match.groups()
        addressed = Addressed(reference.lower(), kind.lower(), environment)
        if environment is not None:
            return addressed, _regional(path, environment)
        return addressed, _model_host(path)
    match = PREFIX.fullmatch(path)
    if match:
        folder, reference, rest = match.groups()
        return Addressed(reference, folder.removesuffix("s")), _model_host(rest)
    return Addressed(), path


def _regional(path: str, environment: str) -> str:
    if path.startswith(TARGETED):
        message = "This host names an environment already: use the bare path, such as /predict."
        raise Problem(400, "client_error", message)
    if path.startswith(ALWAYS_BARE):
        return path
    return f"/environments/{environment}{path}"


def _model_host(path: str) -> str:
    """A model's own /v1/... is the production deployment's."""
    return f"/production/sync{path}" if path.startswith("/v1/") else path

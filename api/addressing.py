"""Finds out which model a request is for.

- From the path: `/models/{id-or-name}/...` or `/chains/{id-or-name}/...`.
- Else from the Host header: `model-{id}.<anything>`, `chain-{id}.<anything>`, or regional `model-{id}-{env}.<anything>`
  (bare paths only). A Host that names no existing model is ignored, because it may be the API's own name.
- Else it is the only model.

The middleware removes what it read, so that routes see one form of path.
"""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import Problem, of_error
from api.targets import HEADS
from tasks.errors import KingpostError

HOST = re.compile(r"(model|chain)-([a-z0-9]+)(?:-([a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?))?\.", re.I)
PREFIX = re.compile(r"/(models|chains)/([^/]+)(/.*)", re.S)
# A name may contain slashes that are not encoded. It ends before the first of these segments.
ENDS = "|".join((*HEADS, "v1", "predict", "async_predict", "wake", "run_remote"))
SLASHED = re.compile(rf"/(models|chains)/(.+?)(/(?:{ENDS})(?:/.*)?)", re.S)
TARGETED = tuple(f"/{head}/" for head in HEADS)
# Paths of the service itself, whatever the Host header names.
ALWAYS_BARE = ("/async_request", "/health", "/docs", "/openapi.json", "/metrics", "/ui")


@dataclass(frozen=True)
class Addressed:
    """The model that the address names. With `reference` None it is the only model."""

    reference: str | None = None
    kind: str = "model"
    environment: str | None = None  # of a regional host
    prefix: str = ""  # the part of the path that was removed, as the client wrote it


class Addressing:
    """ASGI middleware: puts an `Addressed` into the scope's state and removes it from the path."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Rewrites the path and calls the next application."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            addressed, path = await _resolve(scope)
        except Problem as problem:
            await problem.response(scope)(scope, receive, send)
            return
        scope["path"], scope["raw_path"] = path, path.encode()
        scope.setdefault("state", {})["addressed"] = addressed
        await self._app(scope, receive, send)


async def _resolve(scope: Scope) -> tuple[Addressed, str]:
    """The model that path and Host name, and the path that routes know.

    Raises Problem for a target on a regional host, and when the store does not answer.
    """
    path: str = scope["path"]
    raw_path = scope.get("raw_path") or quote(path).encode()
    found = named(path, raw_path)
    plain = named(path, raw_path, slashes=False)
    if found and found != plain and not await _exists(scope, found[0]):
        found = plain  # `/models/echo/prod/predict` is more likely a wrong target than a name `echo/prod`
    if found:
        addressed, rest = found
        return addressed, _v1_in_production(rest)
    host = next((value for name, value in scope["headers"] if name == b"host"), b"")
    match = HOST.match(host.decode("latin-1"))
    if match is None:
        return Addressed(), path
    kind, reference, environment = match.groups()
    addressed = Addressed(reference.lower(), kind.lower(), environment)
    bare = environment is None and not path.startswith("/v1/")
    if bare or path.startswith(ALWAYS_BARE):
        return addressed, path
    if not await _exists(scope, addressed):
        return Addressed(addressed.reference, addressed.kind), path
    if environment is not None:
        return addressed, _regional(path, environment)
    return addressed, _v1_in_production(path)


async def _exists(scope: Scope, addressed: Addressed) -> bool:
    gateway: Any = scope["app"].state.gateway
    try:
        return await gateway.resolver.knows(addressed.reference)
    except KingpostError as error:
        raise of_error(error) from error


def named(path: str, raw_path: bytes, slashes: bool = True) -> tuple[Addressed, str] | None:
    """The model that a path names, and the rest of the path. In `raw_path`, `%2F` is still encoded.

    With `slashes`, a name may contain slashes that are not encoded.
    """
    raw = raw_path.decode("latin-1")
    encoded = PREFIX.fullmatch(raw)
    if encoded is None:
        return None
    folder, reference, rest = (unquote(part) for part in encoded.groups())
    segments = 3
    if slashes and "/" not in reference and (slashed := SLASHED.fullmatch(path)):
        folder, reference, rest = slashed.groups()
        segments += reference.count("/")
    prefix = "/".join(raw.split("/")[:segments])
    return Addressed(reference, folder.removesuffix("s"), prefix=prefix), rest


def _regional(path: str, environment: str) -> str:
    if path.startswith(TARGETED):
        message = "This host names an environment already: use the bare path, such as /predict."
        raise Problem(400, "client_error", message)
    return f"/environments/{environment}{path}"


def _v1_in_production(path: str) -> str:
    """A path /v1/... of a model means its production deployment."""
    return f"/production/sync{path}" if path.startswith("/v1/") else path

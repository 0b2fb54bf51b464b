"""Which model a request is for: a path prefix, the Host header, or nothing when there is one model.

`/models/{id-or-name}/...`, `/chains/{id-or-name}/...`; else `model-{id}.<anything>`, `chain-{id}.<anything>`, regional
`model-{id}-{env}.<anything>` (bare paths only). The middleware strips what it read, so that routes see one form only. A
Host that looks like a model's and is none changes no path: it may be the API's own name.
"""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import Problem, of_error
from tasks.errors import KingpostError

HOST = re.compile(r"(model|chain)-([a-z0-9]+)(?:-([a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?))?\.", re.I)
PREFIX = re.compile(r"/(models|chains)/([^/]+)(/.*)", re.S)
# A name may hold slashes as they are, where the first of these segments shows its end.
HEADS = "production|development|environments|deployment|v1|predict|async_predict|wake|run_remote"
SLASHED = re.compile(rf"/(models|chains)/(.+?)(/(?:{HEADS})(?:/.*)?)", re.S)
TARGETED = ("/production/", "/development/", "/environments/", "/deployment/")
ALWAYS_BARE = ("/async_request", "/health", "/docs", "/openapi.json", "/metrics")


@dataclass(frozen=True)
class Addressed:
    """What the address said; `reference` None = the only model."""

    reference: str | None = None
    kind: str = "model"
    environment: str | None = None  # of a regional host
    prefix: str = ""  # what was stripped of the path, as the client wrote it


class Addressing:
    """ASGI middleware: leaves an `Addressed` in the scope's state and a path without it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Rewrites the path, then goes on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            addressed, path = await _resolve(scope)
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        scope["path"], scope["raw_path"] = path, path.encode()
        scope.setdefault("state", {})["addressed"] = addressed
        await self._app(scope, receive, send)


async def _resolve(scope: Scope) -> tuple[Addressed, str]:
    """What path and Host say, and the path that routes know.

    Raises Problem on a regional host's target, and when the store is away.
    """
    path: str = scope["path"]
    raw_path = scope.get("raw_path") or quote(path).encode()
    found = named(path, raw_path)
    plain = named(path, raw_path, slashes=False)
    if found and found != plain and not await _exists(scope, found[0]):
        found = plain  # `/models/echo/prod/predict` is more likely a wrong target than a name `echo/prod`
    if found:
        addressed, rest = found
        return addressed, _model_host(rest)
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
    return addressed, _model_host(path)


async def _exists(scope: Scope, addressed: Addressed) -> bool:
    gateway: Any = scope["app"].state.gateway
    try:
        return await gateway.registry.knows(addressed.reference)
    except KingpostError as error:
        raise of_error(error) from error


def named(path: str, raw_path: bytes, slashes: bool = True) -> tuple[Addressed, str] | None:
    """What a path that names a model says, and the rest of it; `raw_path` is from before `%2F` became a slash.

    With `slashes`, a name may have some that are not encoded.
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


def _model_host(path: str) -> str:
    """A model's own /v1/... is the production deployment's."""
    return f"/production/sync{path}" if path.startswith("/v1/") else path

"""Turns errors into answers for clients: `{"error", "error_code"}` with Baseten's codes (ErrorResponse in its OpenAPI)."""

import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Scope

from api import unknown_paths
from api.dialects.errors import body_of, dialect_of
from api.unknown_fields import NO_FIELD, guess
from deployments.registry.autoscaling import BadSetting
from deployments.registry.removal import HasWork, NotRemovable
from deployments.registry.verbs import EnvironmentRefused, NameTaken, NotOnItsOwn
from tasks.batches.verbs import BatchesFull
from tasks.errors import (
    FileMissing,
    IdempotencyConflict,
    KeyFull,
    KeyRefused,
    KingpostError,
    NotFound,
    PayloadUnavailable,
    QueueFull,
    RateLimited,
    StoreUnavailable,
)
from tasks.files.receiving import UploadRefused
from tasks.files.verbs import FilesFull, UploadsFull, UploadTaken, WrongOffset
from tasks.outside_text import utf8
from tasks.process.logs import get_logger
from tasks.process.mistakes import sentence_of

log = get_logger("api")

MOST_MISTAKES = 10  # invalid fields that the answer names
NO_ROUTE = "Not Found"  # the framework's words for a path that it does not know
RETRY_STORE = "1"  # s; the store is back within seconds or somebody has been paged
RETRY_UPLOAD = "60"  # s; somebody finishes an upload, or it is dropped
RETRY_QUEUE = "10"  # s; a full queue drains slowly


class Problem(Exception):
    """An error answer. `code` is one of Baseten's, `more` are additional fields of Kingpost, or `param` of OpenAI's object."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = dict(headers or {})
        self.more = dict(more or {})

    def response(self, scope: Scope) -> JSONResponse:
        """The answer to the request of that scope, in the dialect of its path."""
        dialect = dialect_of(scope["path"])
        body = body_of(dialect, self.status, self.code, self.message, self.more)
        return JSONResponse(body, self.status, headers=self.headers)


def of_error(error: KingpostError) -> Problem:
    """The answer for a KingpostError."""
    match error:
        case StoreUnavailable():
            message = "The job store cannot be reached right now; try again shortly."
            return Problem(503, "internal_baseten_error", message, {"Retry-After": RETRY_STORE})
        case PayloadUnavailable():
            message = "The payload store cannot be reached right now; try again shortly."
            return Problem(503, "internal_baseten_error", message, {"Retry-After": RETRY_STORE})
        case RateLimited():
            wait = {"Retry-After": str(error.wait_seconds)}
            return Problem(429, "rate_limited", str(error), wait)
        case QueueFull() | KeyFull():
            return Problem(429, "rate_limited", str(error), {"Retry-After": RETRY_QUEUE})
        case IdempotencyConflict():
            return Problem(409, "client_error", str(error))
        case UploadsFull() | BatchesFull():
            return Problem(429, "rate_limited", str(error), {"Retry-After": RETRY_UPLOAD})
        case WrongOffset():
            said = {"Upload-Offset": str(error.offset)}
            return Problem(409, "client_error", str(error), said)
        case UploadTaken() | HasWork() | NotRemovable():
            return Problem(409, "client_error", str(error))
        case FilesFull():
            return Problem(413, "payload_too_large", str(error))
        case EnvironmentRefused() | NameTaken() | NotOnItsOwn() | BadSetting() | KeyRefused():
            return Problem(400, "client_error", str(error))
        case UploadRefused() | FileMissing():
            return Problem(400, "client_error", str(error))
        case NotFound():
            return Problem(404, "model_does_not_exist", str(error))
        case _:
            return Problem(500, "internal_baseten_error", "Kingpost could not do this.")


def of_validation(error: RequestValidationError, known: Iterable[str] = ()) -> Problem:
    """The answer for invalid fields, with one sentence for each. An unknown name is compared with those in `known`, for a hint."""
    names = list(known)
    mistakes = error.errors()[:MOST_MISTAKES]
    said = [f"{_where(mistake['loc'])}{_mistake(mistake, names)}" for mistake in mistakes]
    return Problem(400, "client_error", utf8("; ".join(said)))


def _mistake(mistake: Mapping[str, Any], known: Iterable[str]) -> str:
    if mistake["type"] != "extra_forbidden":
        return sentence_of(mistake)
    return NO_FIELD + guess(str(mistake["loc"][-1]), known)


def _parameters(request: Request) -> list[str]:
    """The names of the query parameters that the route has."""
    dependant = getattr(request.scope.get("route"), "dependant", None)
    kinds = [parameter.field_info for parameter in getattr(dependant, "query_params", ())]
    return [name for kind in kinds for name in getattr(kind.annotation, "model_fields", ())]


def _where(location: tuple[object, ...]) -> str:
    if location[:1] == ("query",):
        location = location[
            :2
        ]  # a parameter that is given several times has no places for its caller
    names = [str(part) for part in location if part not in ("body", "query", "path", "header")]
    return ".".join(names) + ": " if names else ""


def unauthorized() -> Problem:
    """The answer to a missing, unknown or revoked key."""
    message = "please check the api-key you provided"
    return Problem(401, "unauthorized", message, {"WWW-Authenticate": "Bearer"})


def no_such_request() -> Problem:
    """The answer for a request id that is unknown, deleted or another key's. All three get the same one, so nobody can probe ids."""
    return Problem(404, "client_error", "There is no such async request.")


def _allowed(app: FastAPI, path: str) -> list[str]:
    """Every method that a path has. FastAPI names only those of the first matching route."""
    depth, known = path.count("/"), app.openapi()["paths"]
    for template, operations in known.items():
        pattern = re.sub(r"\\{[^}]+\\}", "[^/]+", re.escape(template))
        if template.count("/") == depth and re.fullmatch(pattern, path):
            return sorted(method.upper() for method in operations)
    return []


def _unknown_url(path: str) -> JSONResponse:
    """The answer to a path under /v1 that does not exist: whoever calls there has most likely a client of OpenAI's."""
    body = body_of("openai", 404, "unknown_url", unknown_paths.sentence(path), {})
    return JSONResponse(body, 404, {"x-request-id": secrets.token_hex(16)})


def install(app: FastAPI) -> None:
    """Makes the app answer every error in this form."""

    async def on_problem(request: Request, error: Exception) -> JSONResponse:
        return cast(Problem, error).response(request.scope)

    async def on_error(request: Request, error: Exception) -> JSONResponse:
        return of_error(cast(KingpostError, error)).response(request.scope)

    async def on_validation(request: Request, error: Exception) -> JSONResponse:
        problem = of_validation(cast(RequestValidationError, error), _parameters(request))
        return problem.response(request.scope)

    async def on_http(request: Request, error: Exception) -> JSONResponse:
        problem = cast(HTTPException, error)
        headers, detail = dict(problem.headers or {}), str(problem.detail)
        if problem.status_code == 405:
            allowed = ", ".join(_allowed(app, request.scope["path"])) or headers.get("Allow", "")
            headers["Allow"] = allowed
            detail = f"This path takes {allowed or 'other methods'}, not {request.method}."
        elif problem.status_code == 404 and detail == NO_ROUTE:
            path = request.scope["path"]
            if path.startswith("/v1/") and dialect_of(path) == "baseten":
                return _unknown_url(path)
            detail = unknown_paths.sentence(path)
        return Problem(problem.status_code, "client_error", detail, headers).response(request.scope)

    async def on_bug(request: Request, error: Exception) -> JSONResponse:
        incident = secrets.token_hex(4)
        log.error("request.crashed", path=request.scope["path"], incident=incident, exc_info=error)
        message = f"Something went wrong on our side (incident {incident})."
        return Problem(500, "internal_baseten_error", message).response(request.scope)

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(KingpostError, on_error)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_bug)

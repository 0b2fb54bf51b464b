"""Matches the busiest routes before FastAPI does, because its routing costs more than the work of the handler.

The same handlers answer; this module defines none. FastAPI has every route for the API document. It serves all requests that
do not match exactly, such as other methods and polls with a query.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api import targets
from api.gateway import authenticate
from api.observing.requests import ROUTE
from api.problems import Problem, of_error
from api.routes import async_requests as routes_async
from api.routes import sync as routes_sync
from deployments.registry.resolver import Target
from tasks.errors import KingpostError

Answer = Awaitable[Response | BaseModel]
Targeted = Callable[[Request, Target], Answer]

# Matches like FastAPI: a route is anything but a line break.
TARGETED = re.compile(
    rf"(?:{targets.PATTERN})/(?:(?P<action>async_predict|async_queue_status|predict|run_remote)|sync/(?P<route>.*))"
)
ONE_REQUEST = re.compile(r"/async_request/([^/]+)")
ACTIONS: dict[tuple[str, str], Targeted] = {
    ("POST", "async_predict"): routes_async.async_predict,
    ("GET", "async_queue_status"): routes_async.async_queue_status,
    ("POST", "predict"): routes_sync.predict,
    ("POST", "run_remote"): routes_sync.predict,
}


class FastLane:
    """ASGI middleware after the addressing: answers the busiest routes and passes all other requests on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers the request or passes it on."""
        request = Request(scope, receive) if scope["type"] == "http" else None
        answer = _answer(request) if request else None
        if answer is None:
            await self._app(scope, receive, send)
            return
        try:
            said = await answer
            response = _json(said) if isinstance(said, BaseModel) else said
        except Problem as problem:
            response = problem.response(scope)
        except KingpostError as error:
            response = of_error(error).response(scope)
        await response(scope, receive, send)


def _answer(request: Request) -> Answer | None:
    """The handler's call for this request, None if the route is not one of the busiest."""
    method, path = request.method, request.scope["path"]
    if path.startswith("/async_request/"):
        match = ONE_REQUEST.fullmatch(path)
        answer = _one_request(request, match[1]) if match else None
        return _named(request, "/async_request/{request_id}", answer)
    match = TARGETED.fullmatch(path)
    if match is None:
        return None
    names = match.groupdict()
    target = targets.target(path, names)
    if action := names["action"]:
        handler = ACTIONS.get((method, action))
        answer = handler(request, target) if handler else None
        return _named(request, f"/{{target}}/{action}", answer)
    if method in routes_sync.METHODS:
        answer = routes_sync.sync_route(request, target, names["route"])
        return _named(request, "/{target}/sync/{route}", answer)
    return None


def _named(request: Request, route: str, answer: Answer | None) -> Answer | None:
    """Says which route it is, for metrics."""
    if answer is not None:
        request.scope["state"][ROUTE] = route
    return answer


def _one_request(request: Request, request_id: str) -> Answer | None:
    if request.method == "DELETE":
        return routes_async.cancel(request, request_id)
    if request.method == "GET" and not request.scope["query_string"]:
        return _status(request, request_id)
    return None


async def _status(request: Request, request_id: str) -> BaseModel:
    return await routes_async.status(request, request_id, await authenticate(request))


def _json(model: Any) -> Response:
    """The response as FastAPI would write it."""
    return Response(model.__pydantic_serializer__.to_json(model), media_type="application/json")

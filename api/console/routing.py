"""A route of the console. An error on a page becomes a page, too."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import RedirectResponse, Response

from api.console.live.parts import only_if_changed
from api.console.rendering import SECURITY, page
from api.console.sessions import LoginNeeded, Viewer, login_address, viewer_in
from api.problems import Problem, of_error, of_validation
from tasks.errors import KingpostError, StoreUnavailable

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(APIRoute):
    """Answers an error with a page, and a request without a session with the way to the login."""

    def get_route_handler(self) -> Handler:
        """FastAPI's hook."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return only_if_changed(request, await handle(request))
            except LoginNeeded as needed:
                return _to_login(request, needed)
            except Problem as problem:
                return await _error_page(request, problem)
            except KingpostError as error:
                return await _error_page(request, of_error(error))
            except RequestValidationError as error:
                return await _error_page(request, of_validation(error))

        return handler


def _to_login(request: Request, needed: LoginNeeded) -> Response:
    where = login_address(needed.path)
    if request.headers.get("hx-request") == "true":  # the live part of a page that is open
        return Response(status_code=204, headers=SECURITY | {"hx-redirect": where})
    return RedirectResponse(where, 303, SECURITY)


async def _error_page(request: Request, problem: Problem) -> Response:
    viewer: Viewer | None = None
    try:
        viewer = await viewer_in(request)
    except StoreUnavailable:
        viewer = None  # the page says so, without a name in its corner
    return await page(request, "error.html", viewer, problem.status, problem=problem)

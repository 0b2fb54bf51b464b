"""Every route of the API, so that a test asks all of them, new ones too."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from fastapi.routing import APIRoute, APIWebSocketRoute

from api.app import create_app
from tasks.settings import Settings

OPEN = (
    "/health",
    "/docs",
    "/openapi.json",
    "/redoc",
    "/v1/files/{token}",
)  # for strangers; the URL of a file is its key
SIGNED = "/truss/s3/"  # for who signs with credentials that were handed out: tests/contract/truss
CONSOLE = "/ui"  # for who has logged in: test_console.py walks its pages
MISSING = "0" * 32  # a request that does not exist
VALUES = {"request_id": MISSING, "route": "v1/models/model", "environment": "production"}


@dataclass(frozen=True)
class Route:
    """A method of a route."""

    method: str  # 'WEBSOCKET' for those
    template: str

    @property
    def path(self) -> str:
        """Its path, with parameters that name nothing that exists."""
        return re.sub(
            r"\{(\w+)(:path)?\}", lambda found: VALUES.get(found[1], "zzzzzzzz"), self.template
        )

    def __str__(self) -> str:
        return f"{self.method} {self.template}"


@cache
def every_route() -> tuple[Route, ...]:
    """Every method of every route that needs a key."""
    found: list[Route] = []
    for route in _flat(create_app(Settings()).routes):
        if isinstance(route, APIWebSocketRoute) and route.path != "/{path:path}":
            found.append(Route("WEBSOCKET", route.path))
        elif isinstance(route, APIRoute) and not (
            route.path == "/" or route.path.startswith((*OPEN, SIGNED, CONSOLE))
        ):
            found += [Route(method, route.path) for method in sorted(route.methods)]
    return tuple(found)


def _flat(routes: Iterable[Any]) -> Iterator[Any]:
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is None:
            yield route
        else:
            yield from _flat(included.routes)

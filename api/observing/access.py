"""The access log: one JSON line for each HTTP request, of what it was and how it ended. It has no input, no output and no key."""

from collections.abc import Iterable
from typing import Any, Literal

from starlette.types import Scope

from tasks.process.logs import get_logger

log = get_logger("access")

Which = Literal["none", "errors", "all"]
KEY_ID = "key_id"  # in the scope's state, where `authenticate` puts it
REQUEST_ID = "request_id"  # the same, where a submission puts it
HEALTH = "/health"
ROOT = "/"  # load balancers ask for it
HEADER = b"x-baseten-request-id"
LONGEST = 512  # characters of a path that are logged


class AccessLog:
    """Writes the lines that the setting asks for. Answers to health checks are written only if they are errors."""

    def __init__(self, which: Which) -> None:
        self._which = which

    def answered(
        self,
        scope: Scope,
        path: str,
        route: str,
        code: int,
        seconds: float,
        headers: Iterable[tuple[bytes, bytes]],
    ) -> None:
        """A request is over. The query is left out: a signed URL has its signature there."""
        usual = self._which == "errors" or route == ROOT or route.startswith(HEALTH)
        if self._which == "none" or (usual and code < 400):
            return
        state: dict[str, Any] = scope["state"]
        client = scope.get("client")
        fields = {
            "method": scope["method"],
            "path": path[:LONGEST],
            "route": route,
            "status": code,
            "duration_ms": round(seconds * 1000, 1),
            "client": client[0] if client else "",
            "key_id": state.get(KEY_ID, ""),
            "request_id": state.get(REQUEST_ID) or _header(headers),
        }
        log.info(
            "request.answered", **{name: value for name, value in fields.items() if value != ""}
        )


def _header(headers: Iterable[tuple[bytes, bytes]]) -> str:
    return next((value.decode("latin-1") for name, value in headers if name == HEADER), "")

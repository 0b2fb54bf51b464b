"""How many calls the host serves and has served, through every door but the worker's own."""

from starlette.types import ASGIApp, Receive, Scope, Send

PRIVATE = "/kingpost/"


class Traffic:
    """Counts; on the event loop only."""

    def __init__(self) -> None:
        self.open = 0
        self.served = 0

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application, counted."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan" or _is_probe(scope):
                await app(scope, receive, send)
                return
            self.open += 1
            self.served += 1
            try:
                await app(scope, receive, send)
            finally:
                self.open -= 1

        return counted


def _is_probe(scope: Scope) -> bool:
    """The worker's own calls, and the liveness route that load balancers ask."""
    return scope["path"].startswith(PRIVATE) or scope["path"] == "/"

"""Counts the sync calls that run in the host now (`open`), and all calls that it has served, jobs included (`served`).

Sync calls come by the socket for callers. Jobs come by the worker's socket, whose routes count them.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

LIVENESS = "/"  # is not counted, because load balancers call it and no model code runs


class Traffic:
    """The counts. Only the event loop uses them."""

    def __init__(self) -> None:
        self.open = 0
        self.served = 0

    def counting(self, app: ASGIApp) -> ASGIApp:
        """The application, with its calls counted."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == LIVENESS:
                await app(scope, receive, send)
                return
            self.open += 1
            self.served += 1
            try:
                await app(scope, receive, send)
            finally:
                self.open -= 1

        return counted

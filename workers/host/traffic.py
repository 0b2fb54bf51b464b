"""Counts the calls that the host serves, and has served. Jobs come by the worker's socket, and count only among the latter."""

from starlette.types import ASGIApp, Receive, Scope, Send

LIVENESS = "/"  # what load balancers ask is no call of the model


class Traffic:
    """The counts. Only the event loop uses them."""

    def __init__(self) -> None:
        self.open = 0
        self.served = 0

    def around(self, app: ASGIApp) -> ASGIApp:
        """An application that counts its calls."""

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

"""How many calls of callers the host serves and has served; its worker's come in by another socket."""

from starlette.types import ASGIApp, Receive, Scope, Send

LIVENESS = "/"  # what load balancers ask is no call of the model


class Traffic:
    """Counts; on the event loop only."""

    def __init__(self) -> None:
        self.open = 0
        self.served = 0

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application, counted."""

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

"""A span for each HTTP request of this API process, and where the calls that it causes find it."""

from typing import Any

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.observing.access import HEADER, HEALTH
from api.observing.requests import METHODS, NO_ANSWER, ROUTE, UNKNOWN_ROUTE
from tasks.job import Job
from tasks.process import tracing
from tasks.process.tracing import Span

SPAN = "span"  # in the scope's state
# Load balancers, Prometheus and open pages of the console ask all the time, and cause nothing.
UNTRACED = (HEALTH, "/metrics", "/ui")


class Traced:
    """ASGI middleware around the routes. It is there only if traces are wanted."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Calls the application, within a span that ends with the answer."""
        if scope["type"] not in ("http", "websocket") or scope["path"].startswith(UNTRACED):
            await self._app(scope, receive, send)
            return
        method: str = scope.get("method", "WEBSOCKET")
        method = method if method in METHODS or method == "WEBSOCKET" else "other"
        given = HTTPConnection(scope).headers.get("traceparent", "")
        span = tracing.span(method, given, "server", {"http__request__method": method})
        state: dict[str, Any] = scope.setdefault("state", {})
        state[SPAN] = span
        if not tracing.is_sampled(span.traceparent):
            await self._app(scope, receive, send)
            return
        code = 0

        async def noticed(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                _note_request(span, message)
            await send(message)

        try:
            await self._app(scope, receive, noticed)
        except BaseException:
            code = code or 500
            raise
        finally:
            _end(span, scope, method, code)


def _note_request(span: Span, message: Message) -> None:
    named = (value for name, value in message["headers"] if name.lower() == HEADER)
    if request_id := next(named, b"").decode("latin-1"):
        span.note(request_id=request_id)


def _end(span: Span, scope: Scope, method: str, code: int) -> None:
    if scope["type"] == "http":
        known = scope["state"].get(ROUTE) or getattr(scope.get("route"), "path", UNKNOWN_ROUTE)
        span.name(f"{method} {known}")
        span.note(http__route=known, http__response__status_code=code or NO_ANSWER)
    if code >= 500:
        span.fail()
    span.end()


def traceparent_of(connection: HTTPConnection) -> str:
    """The parent for what this request causes: its span, else what the client sent. '' = no trace."""
    span: Span | None = connection.scope.get("state", {}).get(SPAN)
    if span is None:
        return connection.headers.get("traceparent", "")
    # Without a client that traces, an unsampled trace is of no use to anybody, and costs bytes of each record.
    traces = tracing.is_sampled(span.traceparent) or tracing.TRACEPARENT.fullmatch(
        connection.headers.get("traceparent", "")
    )
    return span.traceparent if traces else ""


def link(connection: HTTPConnection, job: Job, request_id: str) -> str:
    """The parent for the request of that id, which runs `job` again. A span in between has a link to the trace of `job`.

    If this process records nothing, the new request joins that trace.
    """
    if not tracing.is_on():
        return job.traceparent
    parent = traceparent_of(connection)
    if not tracing.is_sampled(parent):
        return parent
    about = {"request_id": request_id, "retry_of": str(job.request_id)}
    span = tracing.span("retry", parent, "producer", about, [job.traceparent])
    span.end()
    return span.traceparent

"""A span for each HTTP request of this API process, and where the calls that it causes find it."""

from dataclasses import replace
from typing import Any

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.observing.access import HEADER as REQUEST_ID
from api.observing.access import HEALTH
from api.observing.requests import METHODS, NO_ANSWER, ROUTE, UNKNOWN_ROUTE
from tasks.job import Job, Submission
from tasks.process import tracing
from tasks.process.tracing import Span

SPAN = "span"  # in the scope's state; without one the client's own `traceparent` goes on
HEADER = b"traceparent"
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
        given = tracing.valid(_given(scope))
        span = tracing.span("WEBSOCKET", given, "server")
        if span.recorded or span.traceparent != given:
            state: dict[str, Any] = scope.setdefault("state", {})
            state[SPAN] = span
        if span.recorded:
            await self._recorded(span, scope, receive, send)
        else:  # most requests: they cost what they cost without traces
            await self._app(scope, receive, send)

    async def _recorded(self, span: Span, scope: Scope, receive: Receive, send: Send) -> None:
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
            _end(span, scope, code)


def _given(scope: Scope) -> str:
    """The client's `traceparent`, '' without one."""
    for name, value in scope["headers"]:
        if name == HEADER:
            return value.decode("latin-1")
    return ""


def _note_request(span: Span, message: Message) -> None:
    named = (value for name, value in message["headers"] if name.lower() == REQUEST_ID)
    if request_id := next(named, b"").decode("latin-1"):
        span.note(request_id=request_id)


def _end(span: Span, scope: Scope, code: int) -> None:
    if scope["type"] == "http":
        method: str = scope["method"] if scope["method"] in METHODS else "other"
        known = scope["state"].get(ROUTE) or getattr(scope.get("route"), "path", UNKNOWN_ROUTE)
        span.name(f"{method} {known}")
        span.note(
            http__request__method=method,
            http__route=known,
            http__response__status_code=code or NO_ANSWER,
        )
    if code >= 500:
        span.fail()
    span.end()


def traceparent_of(connection: HTTPConnection) -> str:
    """The parent for what this request causes: its span, else what the client sent. '' = no trace."""
    span: Span | None = connection.scope.get("state", {}).get(SPAN)
    return span.traceparent if span else tracing.valid(_given(connection.scope))


def linked(connection: HTTPConnection, job: Job, again: Submission) -> Submission:
    """The same submission, which runs `job` again, in the trace of this request. A span in between has a link to the trace of `job`.

    If this process records nothing, the submission stays in the trace of `job`.
    """
    if not tracing.is_on():
        return again
    parent = traceparent_of(connection)
    if tracing.is_sampled(parent):
        about = {"request_id": str(again.request_id), "retry_of": str(job.request_id)}
        span = tracing.span("retry", parent, "producer", about, [job.traceparent])
        span.end()
        parent = span.traceparent
    return replace(again, traceparent=parent)

"""Counts and times the HTTP requests of this API process, and writes a log line for each if a setting says so."""

import time
from collections.abc import MutableMapping
from importlib.metadata import version
from platform import python_version
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
)
from prometheus_client.process_collector import ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.observing.access import AccessLog

SECONDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    60,
    300,
    1800,
)
ROUTE = "route"  # in the scope's state: a bounded set of names, never what a client wrote
UNKNOWN_ROUTE = "unknown"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ANSWER = 499  # the client left before there was one; nginx's number for it


class Measures:
    """The metrics of this process: its requests, its calls of the store, and what the operating system says of it."""

    def __init__(self) -> None:
        disable_created_metrics()  # of this process: Prometheus sees by itself that a counter begins anew
        self.registry = CollectorRegistry()
        made: dict[str, Any] = {"registry": self.registry}
        ProcessCollector(**made)
        Info("kingpost_build", "The release that this process runs.", **made).info(
            {"version": version("kingpost"), "python": python_version()}
        )
        self.requests = Counter(
            "kingpost_http_requests",
            "Answered HTTP requests. A code of 499 means that the client left before.",
            ("route", "method", "code"),
            **made,
        )
        self.first_byte = Histogram(
            "kingpost_http_first_byte_seconds",
            "Time until the first byte of an answer.",
            ("route",),
            buckets=SECONDS,
            **made,
        )
        self.duration = Histogram(
            "kingpost_http_request_duration_seconds",
            "Time until the last byte of an answer.",
            ("route",),
            buckets=SECONDS,
            **made,
        )
        self.in_progress = Gauge(
            "kingpost_http_requests_in_progress", "HTTP requests without their last byte.", **made
        )
        self.store = Histogram(
            "kingpost_store_round_trip_seconds",
            "Time of a round trip to the job store, which may carry several calls.",
            buckets=SECONDS,
            **made,
        )
        self._children: dict[tuple[str, str, int], tuple[Any, Any, Any]] = {}

    def answered(self, route: str, method: str, code: int, first: float, last: float) -> None:
        """Counts a request. `first` and `last` are the seconds until the first and the last byte of its answer."""
        found = self._children.get((route, method, code))
        if found is None:
            found = (
                self.requests.labels(route, method, code),
                self.first_byte.labels(route),
                self.duration.labels(route),
            )
            self._children[route, method, code] = found
        counted, first_byte, duration = found
        counted.inc()
        first_byte.observe(first)
        duration.observe(last)


class Observed:
    """ASGI middleware, the outermost: each HTTP request is counted, timed and logged once it is over."""

    def __init__(self, app: ASGIApp, measures: Measures, log: AccessLog) -> None:
        self._app, self._measures, self._log = app, measures, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Calls the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        answer = _Answer()
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        path: str = scope["path"]  # others rewrite it

        async def noticed(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.code, answer.first = message["status"], time.perf_counter()
                answer.headers = message["headers"]
            await send(message)

        self._measures.in_progress.inc()
        try:
            await self._app(scope, receive, noticed)
        except Exception:
            answer.code = answer.code or 500  # the server answers with it
            raise
        finally:
            self._measures.in_progress.dec()
            last = time.perf_counter()
            route = state.get(ROUTE) or getattr(scope.get("route"), "path", UNKNOWN_ROUTE)
            method = scope["method"] if scope["method"] in METHODS else "other"
            first = (answer.first or last) - began
            self._measures.answered(route, method, answer.code or NO_ANSWER, first, last - began)
            self._log.answered(
                scope, path, route, answer.code or NO_ANSWER, last - began, answer.headers
            )


class _Answer:
    code = 0
    first = 0.0
    headers: Any = ()

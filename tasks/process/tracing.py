"""Traces by OpenTelemetry, if its variables say where they go. It imports nothing of OpenTelemetry unless they do.

A parent is a `traceparent` as in the W3C's Trace Context: a job has it in its record, a call in its headers. Spans have attributes that
are numbers, ids and our own words, never an input, an output, the text of an exception, a key or a URL.
"""

import contextlib
import gc
import re
from collections.abc import Generator, Mapping, Sequence
from importlib import import_module
from typing import Literal, Protocol

from tasks.process.variables import value_of

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Value = str | int | float | bool
NOTHING: Mapping[str, Value] = {}
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
IMPLEMENTATION = "tasks.process.exporting"
# Not valid are the version ff, more than four parts in version 00, and ids of zeros alone.
TRACEPARENT = re.compile(
    r"(?!ff|00.{53}.)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?"
)
SAMPLED = 1  # a bit of the flags of a traceparent


class Span:
    """A span that is not recorded. Its `traceparent` is that of its parent, so that what follows joins the caller's trace."""

    recorded = False

    def __init__(self, traceparent: str = "") -> None:
        self.traceparent = traceparent

    def name(self, name: str) -> None:
        """Renames it."""

    def note(self, **attributes: Value) -> None:
        """Adds attributes. `request_id=...` becomes `kingpost.request_id`."""

    def fail(self) -> None:
        """Marks it as failed."""

    def end(self, at_ns: int | None = None) -> None:
        """Ends it now, or at that time, in nanoseconds of Unix time."""

    @contextlib.contextmanager
    def current(self) -> Generator[None]:
        """Makes it the current one, so that spans of libraries and of the model join."""
        yield


UNRECORDED = Span()  # in no trace


class Tracer(Protocol):
    """What makes spans; see tasks/process/exporting.py."""

    def start(
        self,
        name: str,
        parent: str,
        kind: Kind,
        links: Sequence[str],
        attributes: Mapping[str, Value],
        began_ns: int | None,
    ) -> Span:
        """Starts a span under that valid parent; '' begins a trace."""
        ...

    def share(self) -> None:
        """Lets code of others in this process export its spans, too, if it has not set up its own way."""
        ...

    def stop(self) -> None:
        """Sends what is left, for a few seconds at most."""
        ...


_tracer: Tracer | None = None


def wanted() -> bool:
    """Whether the variables of OpenTelemetry say that and where traces go."""
    if value_of("OTEL_SDK_DISABLED").lower() == "true":
        return False
    return value_of("OTEL_TRACES_EXPORTER") in ("", "otlp") and any(map(value_of, ENDPOINTS))


def set_up(part: str) -> None:
    """Begins to export the spans of this process, if that is wanted and the SDK is installed. `part` names the service."""
    global _tracer
    if _tracer is None and wanted():
        with contextlib.suppress(
            ImportError
        ):  # a virtualenv of a package has none, or another version
            _tracer = import_module(IMPLEMENTATION).make(part)
            gc.freeze()  # as after all other imports: each collection would walk the SDK's modules


def share() -> None:
    """Lets code of others in this process export its spans, too, if it has not set up its own way."""
    if _tracer:
        _tracer.share()


def stop() -> None:
    """Sends what is left, and ends."""
    global _tracer
    if _tracer:
        _tracer.stop()
    _tracer = None


def span(
    name: str,
    parent: str = "",
    kind: Kind = "internal",
    about: Mapping[str, Value] = NOTHING,
    links: Sequence[str] = (),
) -> Span:
    """Starts a span, if the sampler says so. A parent is valid; without one ('') it begins a trace. `about` are attributes as of `Span.note`."""
    if _tracer is None:
        return Span(parent)
    return _tracer.start(name, parent, kind, links, about, None)


def child(
    name: str,
    parent: str,
    kind: Kind = "internal",
    about: Mapping[str, Value] = NOTHING,
    began_ns: int | None = None,
) -> Span:
    """Starts a span in a trace that is sampled. Without one nothing is recorded.

    `began_ns` is in nanoseconds of Unix time, if it began before.
    """
    if _tracer is None or not is_sampled(parent):
        return Span(parent)
    return _tracer.start(name, parent, kind, (), about, began_ns)


@contextlib.contextmanager
def during(
    name: str, parent: str, kind: Kind = "internal", about: Mapping[str, Value] = NOTHING
) -> Generator[Span]:
    """A `child` for the time of the block. An exception marks it as failed; its text is not recorded."""
    started = child(name, parent, kind, about)
    try:
        yield started
    except BaseException:
        started.fail()
        raise
    finally:
        started.end()


def is_on() -> bool:
    """Whether this process exports spans."""
    return _tracer is not None


def is_sampled(traceparent: str) -> bool:
    """Whether it is a valid parent whose trace is recorded."""
    found = TRACEPARENT.fullmatch(traceparent)
    return found is not None and bool(int(found[1], 16) & SAMPLED)


def valid(traceparent: str) -> str:
    """The same, '' if it is not valid."""
    return traceparent if traceparent and TRACEPARENT.fullmatch(traceparent) else ""


def parsed(traceparent: str) -> tuple[int, int, int]:
    """The id of the trace, that of the span, and the flags, of a valid one."""
    _, trace_id, span_id, flags, *_ = traceparent.split("-")
    return int(trace_id, 16), int(span_id, 16), int(flags, 16)

"""Makes spans with OpenTelemetry's SDK and sends them by OTLP over HTTP. Only `tasks.process.tracing` imports it, if traces are wanted.

The SDK reads its own variables: the endpoint, headers and limits of the export, the sampler, the names of the service.
"""

import contextlib
import re
import threading
from collections.abc import Generator, Mapping, Sequence
from random import getrandbits

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from tasks.process.tracing import UNRECORDED, Kind, Span, Value, is_sampled, parsed, valid
from tasks.process.variables import value_of

STOP_SECONDS = 3.0  # to send what is left; a collector that is away must not keep a process
ALL_IDS = 1 << 64  # a sampler looks at the lower half of a trace's id
# What OTEL_TRACES_SAMPLER makes, as it describes itself.
SAMPLER = re.compile(r"(ParentBased\{root:)?(?:Always(On|Off)Sampler|TraceIdRatioBased\{(.+?)\}).*")
EXCEPTION, EXCEPTION_TYPE = "exception", "exception.type"
KINDS: Mapping[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}


class Recorded(Span):
    """A span of the SDK. One that is not sampled has the flags of that in its `traceparent`."""

    def __init__(self, made: trace.Span) -> None:
        at = made.get_span_context()
        super().__init__(f"00-{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags:02x}")
        self.recorded = made.is_recording()
        self._made = made

    def name(self, name: str) -> None:
        self._made.update_name(name)

    def note(self, **attributes: Value) -> None:
        self._made.set_attributes(_named(attributes))

    def fail(self) -> None:
        self._made.set_status(Status(StatusCode.ERROR))

    def end(self, at_ns: int | None = None) -> None:
        self._made.end(at_ns)

    @contextlib.contextmanager
    def current(self) -> Generator[None]:
        with trace.use_span(self._made, record_exception=False, set_status_on_exception=False):
            yield


class _Ids(RandomIdGenerator):
    """Begins the next trace of a thread with the id that was drawn for it."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def pin(self, trace_id: int) -> None:
        """Sets the id of the next trace."""
        self._of_thread.pinned = trace_id

    def generate_trace_id(self) -> int:
        pinned: int = getattr(self._of_thread, "pinned", 0)
        self._of_thread.pinned = 0
        return pinned or super().generate_trace_id()


class Choice:
    """Which requests are recorded, as the sampler would say. Most are not, and asking it costs as much as a hundredth of a sync call."""

    def __init__(self, sampler: str) -> None:
        found = SAMPLER.fullmatch(sampler)
        self.follows = found is not None and found[1] is not None  # an unsampled parent decides
        if found:
            self._below = TraceIdRatioBased(float(found[3] or found[2] == "On")).bound
        else:
            self._below = ALL_IDS  # one that we do not know is asked

    def draw(self) -> int:
        """The id of a new trace, 0 if it is not recorded."""
        low = getrandbits(64)
        return getrandbits(64) << 64 | low if low < self._below else 0


class Discreet(OTLPSpanExporter):
    """Sends spans without the texts of exceptions, which may quote an input. OpenTelemetry notes them in the model's own spans by default."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends the spans."""
        return super().export([_without_texts(span) for span in spans])


class OpenTelemetry:
    """The tracer of this process. Its provider is not the global one, which belongs to the model, until `share`."""

    def __init__(self, part: str) -> None:
        named = value_of("OTEL_SERVICE_NAME") or "service.name=" in value_of(
            "OTEL_RESOURCE_ATTRIBUTES"
        )
        resource = Resource.create({} if named else {SERVICE_NAME: f"kingpost-{part}"})
        self._ids = _Ids()
        self._provider = TracerProvider(
            resource=resource, shutdown_on_exit=False, id_generator=self._ids
        )
        self._provider.add_span_processor(BatchSpanProcessor(Discreet()))
        self._tracer = self._provider.get_tracer("kingpost")
        self._choice = Choice(self._provider.sampler.get_description())

    def start(
        self,
        name: str,
        parent: str,
        kind: Kind,
        links: Sequence[str],
        attributes: Mapping[str, Value],
        began_ns: int | None,
    ) -> Span:
        """Starts a span, if the sampler wants that one."""
        if parent:
            if self._choice.follows and not is_sampled(parent):
                return Span(parent)
        elif trace_id := self._choice.draw():
            self._ids.pin(trace_id)
        else:
            return UNRECORDED
        made = self._tracer.start_span(
            name,
            _under(parent),
            KINDS[kind],
            _named(attributes),
            [Link(_context_of(link)) for link in links if valid(link)],
            began_ns,
            record_exception=False,
            set_status_on_exception=False,
        )
        return Recorded(made) if parent or made.is_recording() else UNRECORDED

    def share(self) -> None:
        """Makes the provider the global one, unless there is one."""
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(self._provider)

    def stop(self) -> None:
        """Sends what is left, for STOP_SECONDS at most."""
        stopping = threading.Thread(target=self._provider.shutdown, daemon=True)
        stopping.start()
        stopping.join(STOP_SECONDS)


def make(part: str) -> OpenTelemetry:
    """The tracer for a part of Kingpost."""
    return OpenTelemetry(part)


def _without_texts(span: ReadableSpan) -> ReadableSpan:
    """The same span, with the types of its exceptions alone."""
    if not span.status.description and not any(event.name == EXCEPTION for event in span.events):
        return span
    return ReadableSpan(
        span.name,
        span.context,
        span.parent,
        span.resource,
        span.attributes,
        [_typed(event) if event.name == EXCEPTION else event for event in span.events],
        span.links,
        span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _typed(event: Event) -> Event:
    kept = {
        name: value for name, value in (event.attributes or {}).items() if name == EXCEPTION_TYPE
    }
    return Event(event.name, kept, event.timestamp)


def _under(parent: str) -> Context:
    if not parent:
        return Context()
    return trace.set_span_in_context(NonRecordingSpan(_context_of(parent)), Context())


def _context_of(traceparent: str) -> SpanContext:
    """Of a valid one."""
    trace_id, span_id, flags = parsed(traceparent)
    return SpanContext(trace_id, span_id, True, TraceFlags(flags))


def _named(attributes: Mapping[str, Value]) -> dict[str, Value]:
    """Attributes of the semantic conventions have a `__` for each dot; all others are ours."""
    return {
        name.replace("__", ".") if "__" in name else f"kingpost.{name}": value
        for name, value in attributes.items()
    }

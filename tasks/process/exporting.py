"""Makes spans with OpenTelemetry's SDK and sends them by OTLP over HTTP. Only `tasks.process.tracing` imports it, if traces are wanted.

The SDK reads its own variables: the endpoint, headers and limits of the export, the sampler, the names of the service.
"""

import contextlib
import threading
from collections.abc import Generator, Mapping, Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tasks.process.tracing import Kind, Span, Value
from tasks.process.variables import value_of

STOP_SECONDS = 3.0  # to send what is left; a collector that is away must not keep a process
W3C = TraceContextTextMapPropagator()
HEADER = "traceparent"
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
        carrier: dict[str, str] = {}
        W3C.inject(carrier, trace.set_span_in_context(made, Context()))
        super().__init__(carrier.get(HEADER, ""))
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
    """Begins the next trace of a thread with the id about which the sampler was asked."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def pin(self) -> int:
        """The id of the next trace."""
        self._of_thread.pinned = super().generate_trace_id()
        return self._of_thread.pinned

    def generate_trace_id(self) -> int:
        pinned: int = getattr(self._of_thread, "pinned", 0)
        self._of_thread.pinned = 0
        return pinned or super().generate_trace_id()


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

    def start(
        self,
        name: str,
        parent: str,
        kind: Kind,
        links: Sequence[str],
        attributes: Mapping[str, Value],
        began_ns: int | None,
    ) -> Span:
        """Starts a span. The sampler decides whether it is recorded."""
        if not parent and not self._begins(name, KINDS[kind], attributes):
            return Span()
        contexts = (_context_of(link) for link in links)
        made = self._tracer.start_span(
            name,
            W3C.extract({HEADER: parent}, Context()) if parent else Context(),
            KINDS[kind],
            _named(attributes),
            [Link(context) for context in contexts if context.is_valid],
            began_ns,
            record_exception=False,
            set_status_on_exception=False,
        )
        return Recorded(made)

    def _begins(self, name: str, kind: SpanKind, attributes: Mapping[str, Value]) -> bool:
        """Asks the sampler about a new trace. Most are not recorded, and a span of the SDK costs as much as a third of a submission."""
        trace_id = self._ids.pin()
        asked = self._provider.sampler.should_sample(None, trace_id, name, kind, _named(attributes))
        return asked.decision.is_sampled()

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


def _context_of(traceparent: str) -> SpanContext:
    context = W3C.extract({HEADER: traceparent}, Context())
    return trace.get_current_span(context).get_span_context()


def _named(attributes: Mapping[str, Value]) -> dict[str, Value]:
    """Attributes of the semantic conventions have a `__` for each dot; all others are ours."""
    return {
        name.replace("__", ".") if "__" in name else f"kingpost.{name}": value
        for name, value in attributes.items()
    }

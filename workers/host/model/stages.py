"""The stages of a call in its trace: preprocess, predict, postprocess. Spans that the model makes itself join them."""

import contextlib
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from tasks.process import tracing
from workers.host.call.call import ModelCall

HEADER = "traceparent"
# The modules of OpenTelemetry that a model has imported if it makes spans.
CONTEXT, TRACE = "opentelemetry.context", "opentelemetry.trace"


@contextmanager
def stage(call: ModelCall, name: str, batched: bool = False) -> Generator[None]:
    """One stage of a call. Without a `traceparent` it does nothing."""
    parent = call.headers.get(HEADER)
    if parent is None:
        yield
    elif tracing.is_on() and tracing.is_sampled(parent):
        with tracing.during(name, parent, about={"batched": batched}) as span, span.current():
            call.request.pass_on(HEADER, span.traceparent)
            yield
    else:
        with _of_the_model(parent):
            yield


@contextmanager
def _of_the_model(parent: str) -> Generator[None]:
    """Makes the caller's trace the current one for a model that uses OpenTelemetry itself. Nothing is imported for it."""
    context, trace = (sys.modules.get(name) for name in (CONTEXT, TRACE))
    if context is None or trace is None or not tracing.valid(parent):
        yield
        return
    loaded: Any = trace
    current: Any = context
    trace_id, span_id, flags = tracing.parsed(parent)
    # The propagator does the same, and takes longer.
    caller = loaded.SpanContext(trace_id, span_id, True, loaded.TraceFlags(flags))
    token = current.attach(loaded.set_span_in_context(loaded.NonRecordingSpan(caller)))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            current.detach(token)

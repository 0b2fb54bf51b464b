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
API, PROPAGATOR = "opentelemetry.context", "opentelemetry.trace.propagation.tracecontext"


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
    context, propagator = (sys.modules.get(name) for name in (API, PROPAGATOR))
    if context is None or propagator is None:
        yield
        return
    loaded: Any = propagator
    found = loaded.TraceContextTextMapPropagator().extract({HEADER: parent})
    current: Any = context
    token = current.attach(found)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            current.detach(token)

"""`/metrics`: what the model registers with prometheus_client, and nothing of the host's own."""

from functools import cache

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    REGISTRY,
    disable_created_metrics,
    make_asgi_app,
)
from starlette.types import ASGIApp


@cache
def metrics_app() -> ASGIApp:
    """Made once in a process, before the model is imported: its metrics must come without `_created` series."""
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        REGISTRY.unregister(collector)
    disable_created_metrics()
    return make_asgi_app()

"""`/metrics`: the metrics that the model registers with prometheus_client. The host adds none."""

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
    """Prepares the metrics of the process. It runs once, before the model is imported, so that metrics have no `_created` series."""
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        REGISTRY.unregister(collector)
    disable_created_metrics()
    return make_asgi_app()

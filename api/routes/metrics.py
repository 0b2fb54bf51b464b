"""`/metrics` for Prometheus (text format 0.0.4): what the store counts, read anew for each scrape, and this process's own."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from api.gateway import authenticate, gateway_of
from api.observing.collected import OfStore, Snapshot, Unreachable
from api.observing.requests import Measures
from tasks.errors import StoreUnavailable
from tasks.process.logs import get_logger

log = get_logger("api")
router = APIRouter(tags=["metrics"])


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """The metrics; needs a key of the scope `metrics`, `full` or `admin`."""
    await authenticate(request, "metrics")
    gateway = gateway_of(request)
    collector: Collector
    try:
        collector = OfStore(await Snapshot.read(gateway.store, gateway.directory.everyone()))
    except StoreUnavailable as error:
        log.warning("metrics.shortened", error=str(error))
        collector = Unreachable()
    collected = CollectorRegistry()
    collected.register(collector)
    measures: Measures = request.app.state.measures
    text = generate_latest(collected) + generate_latest(measures.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)

"""Metrics for Prometheus (text format 0.0.4) about queues, replicas and webhooks. Each scrape reads them anew."""

from collections import Counter
from collections.abc import Iterator

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.gateway import authenticate, gateway_of
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment, Replica
from tasks.job import QueueStatus
from tasks.store import verbs
from tasks.webhooks import verbs as outbox
from tasks.webhooks.verbs import OutboxStatus

router = APIRouter(tags=["metrics"])
LABELS = ("model", "deployment_id")


class _Snapshot(Collector):
    """The values of one scrape."""

    def __init__(
        self,
        queues: list[tuple[Deployment, QueueStatus]],
        replicas: tuple[Replica, ...],
        webhooks: OutboxStatus,
        switches: int,
    ) -> None:
        self._switches = switches
        self._queues = queues
        self._replicas = replicas
        self._webhooks = webhooks

    def collect(self) -> Iterator[Metric]:
        """All metric families in order."""
        yield from self._of_queues()
        yield from self._of_replicas()
        about = "Replicas that made room for another deployment."
        yield CounterMetricFamily("kingpost_switches", about, self._switches)
        pending = GaugeMetricFamily("kingpost_webhooks_pending", "Webhooks not delivered yet.")
        pending.add_metric((), self._webhooks.pending)
        yield pending
        given_up = GaugeMetricFamily("kingpost_webhooks_exhausted", "Webhooks that were given up.")
        given_up.add_metric((), self._webhooks.exhausted)
        yield given_up

    def _of_queues(self) -> Iterator[GaugeMetricFamily]:
        queued = GaugeMetricFamily("kingpost_queued_requests", "Waiting requests.", labels=LABELS)
        running = GaugeMetricFamily("kingpost_running_requests", "Async calls.", labels=LABELS)
        for deployment, status in self._queues:
            labels = (deployment.model_name, deployment.id)
            queued.add_metric(labels, status.queued)
            running.add_metric(labels, status.in_progress)
        yield queued
        yield running
        backlog = GaugeMetricFamily("kingpost_backlog", "Waiting requests of all models.")
        backlog.add_metric((), sum(status.queued for _, status in self._queues))
        yield backlog

    def _of_replicas(self) -> Iterator[GaugeMetricFamily]:
        labels = (*LABELS, "state")
        replicas = GaugeMetricFamily("kingpost_replicas", "Replicas by state.", labels=labels)
        states = Counter(
            (replica.model_name, replica.deployment_id, replica.state) for replica in self._replicas
        )
        for state, count in states.items():
            replicas.add_metric(state, count)
        slots = GaugeMetricFamily("kingpost_slots", "Slots of ready replicas.", labels=LABELS)
        ready: Counter[tuple[str, str]] = Counter()
        for replica in self._replicas:
            ready[replica.model_name, replica.deployment_id] += (
                replica.slots if replica.state == "ready" else 0
            )
        for name, count in ready.items():
            slots.add_metric(name, count)
        yield replicas
        yield slots


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """The metrics; needs a key of the scope `metrics`, `full` or `admin`."""
    await authenticate(request, "metrics")
    gateway = gateway_of(request)
    deployments = await gateway.store.run(registry.deployments())
    queues = [
        (deployment, await gateway.store.run(verbs.queue_status(deployment.id)))
        for deployment in deployments
    ]
    webhooks = await gateway.store.run(outbox.outbox_status())
    switches = await gateway.store.run(registry.switches())
    collected = CollectorRegistry()
    collected.register(_Snapshot(queues, gateway.directory.everyone(), webhooks, switches))
    return Response(generate_latest(collected), media_type=CONTENT_TYPE_LATEST)

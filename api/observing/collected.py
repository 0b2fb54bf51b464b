"""What the store knows, as metrics: requests, replicas, webhooks, nodes, and the store itself. One scrape is one snapshot."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from deployments.registry import nodes as node_registry
from deployments.registry import verbs as registry
from deployments.registry.load_counts import load_counts
from deployments.registry.nodes import Heard, Vital
from deployments.registry.pages import all_deployments, all_models
from deployments.registry.records import Deployment, Model, Replica
from tasks.store.job_store import AsyncJobStore, unavailable
from tasks.store.totals import BATCH, Counts, Durations, Totals, totals
from tasks.webhooks import verbs as outbox
from tasks.webhooks.verbs import OutboxStatus

LABELS = ("model", "deployment_id")
COUNTERS = {  # metric -> its name in the totals, its own labels, what it is
    "kingpost_requests_submitted": ("submitted", ("level",), "Async requests that were accepted."),
    "kingpost_requests_finished": (
        "ended",
        ("status", "level", "error_code"),
        "Async requests that came to their final status.",
    ),
    "kingpost_attempts_repeated": (
        "again",
        ("reason",),
        "Attempts after which the request went back into its queue.",
    ),
    "kingpost_webhook_attempts": (
        "webhook",
        ("verdict", "code_class"),
        "Attempts to deliver a webhook; the class is the first digit of the answer's status.",
    ),
}
DURATIONS = {
    "kingpost_request_queue_seconds": ("wait", "Time from submission to the first claim."),
    "kingpost_request_run_seconds": ("run", "Time in the model, of the attempt that ended it."),
    "kingpost_request_duration_seconds": ("all", "Time from submission to the final status."),
    "kingpost_webhook_delay_seconds": ("delivery", "Time from the final status to the delivery."),
}
LOADS = {  # metric -> its name in the counts of loads, what it is
    "kingpost_cold_starts": ("cold", "Loads that requests waited for: no other replica was ready."),
    "kingpost_wakes": ("woken", "Times that a deployment without replicas was to have some again."),
}
STORE = {  # metric -> the field of INFO, what it is
    "kingpost_store_memory_bytes": ("used_memory", "Memory that the job store uses."),
    "kingpost_store_max_memory_bytes": ("maxmemory", "Its limit; 0 = none."),
    "kingpost_store_aof_enabled": ("aof_enabled", "1 if it writes an append-only file."),
    "kingpost_store_clients": ("connected_clients", "Its connections."),
    "kingpost_store_replicas": ("connected_slaves", "Its replicas that are connected."),
}


@dataclass(frozen=True)
class Snapshot:
    """What one scrape read. `counted` has the totals of each deployment, in the same order, and `loads` the counts of its loads."""

    deployments: Sequence[Deployment]
    counted: Sequence[Totals]
    loads: Sequence[Counts]
    models: Sequence[Model]
    replicas: Sequence[Replica]
    nodes: Sequence[Heard]
    vital: Vital
    webhooks: OutboxStatus
    switches: int
    info: Mapping[str, object]

    @classmethod
    async def read(cls, store: AsyncJobStore, replicas: Sequence[Replica]) -> "Snapshot":
        """Reads it all, the totals of some deployments at a time. Raises StoreUnavailable."""
        deployments = await all_deployments(store)
        counted, loads = list[Totals](), list[Counts]()
        for first in range(0, len(deployments), BATCH):
            some = [deployment.id for deployment in deployments[first : first + BATCH]]
            counted += await store.run(totals(some))
            loads += await store.run(load_counts(some))
        with unavailable():
            info = await store.redis.info()
        return cls(
            deployments,
            counted,
            loads,
            await all_models(store),
            replicas,
            await store.run(node_registry.nodes()),
            await store.run(node_registry.vital()),
            await store.run(outbox.outbox_status()),
            await store.run(registry.switches()),
            info,
        )

    def pairs(self) -> Iterator[tuple[tuple[str, str], Totals]]:
        """The labels of each deployment, and its totals."""
        for deployment, counted in zip(self.deployments, self.counted, strict=True):
            yield (deployment.model_name, deployment.id), counted


class OfStore(Collector):
    """The metrics of a snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """All metric families in order."""
        yield _gauge("kingpost_store_up", "1 if the job store answers.", (), [((), 1)])
        yield from _of_requests(self._snapshot)
        yield from _of_deployments(self._snapshot)
        yield from _of_loads(self._snapshot)
        yield from _of_replicas(self._snapshot.replicas)
        yield from _of_webhooks(self._snapshot)
        yield from _of_nodes(self._snapshot.nodes)
        swept = self._snapshot.vital.swept
        age = math.inf if swept is None else swept / 1000
        about = "Time since a maintenance process last finished a round; +Inf if none ever has."
        yield _gauge("kingpost_maintenance_age_seconds", about, (), [((), age)])
        for name, (field, about) in STORE.items():
            yield _gauge(name, about, (), [((), float(str(self._snapshot.info.get(field, 0))))])
        ok = self._snapshot.info.get("aof_last_write_status", "ok") == "ok"
        about = "0 if the job store could not write its append-only file."
        yield _gauge("kingpost_store_aof_writes", about, (), [((), float(ok))])


class Unreachable(Collector):
    """The only metric of the store when it does not answer."""

    def collect(self) -> Iterator[Metric]:
        """One metric."""
        yield _gauge("kingpost_store_up", "1 if the job store answers.", (), [((), 0)])


Rows = Iterable[tuple[Sequence[str], float]]


def _gauge(name: str, about: str, labels: Sequence[str], rows: Rows) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, about, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


def _of_requests(snapshot: Snapshot) -> Iterator[Metric]:
    for name, (counted, own, about) in COUNTERS.items():
        family = CounterMetricFamily(name, about, labels=(*LABELS, *own))
        for labels, of_it in snapshot.pairs():
            for values, count in of_it.of(counted):
                family.add_metric((*labels, *values), count)
        yield family
    for name, (measured, about) in DURATIONS.items():
        histogram = HistogramMetricFamily(name, about, labels=LABELS)
        for labels, of_it in snapshot.pairs():
            _add_durations(histogram, labels, of_it.durations(measured))
        yield histogram


def _add_durations(
    histogram: HistogramMetricFamily, labels: Sequence[str], durations: Durations
) -> None:
    buckets = [(str(longest), count) for longest, count in durations.cumulated()]
    buckets.append(("+Inf", durations.count))
    histogram.add_metric(labels, buckets, durations.seconds)


def _of_loads(snapshot: Snapshot) -> Iterator[Metric]:
    names = [(deployment.model_name, deployment.id) for deployment in snapshot.deployments]
    each = list(zip(names, snapshot.loads, strict=True))
    about = "Loads of models by how they ended."
    loads = CounterMetricFamily("kingpost_loads", about, labels=(*LABELS, "result"))
    for labels, counts in each:
        for result in ("ready", "failed"):
            loads.add_metric((*labels, result), counts.counts.get(result, 0))
    yield loads
    for name, (counted, about) in LOADS.items():
        family = CounterMetricFamily(name, about, labels=LABELS)
        for labels, counts in each:
            family.add_metric(labels, counts.counts.get(counted, 0))
        yield family
    about = "Time from the start of a model host until its model was ready."
    histogram = HistogramMetricFamily("kingpost_load_seconds", about, labels=LABELS)
    for labels, counts in each:
        _add_durations(histogram, labels, counts.durations("load"))
    yield histogram


def _of_deployments(snapshot: Snapshot) -> Iterator[Metric]:
    pairs = list(snapshot.pairs())
    about = "Waiting requests."
    queued = [(labels, counted.queued) for labels, counted in pairs]
    yield _gauge("kingpost_queued_requests", about, LABELS, queued)
    running = [(labels, counted.running) for labels, counted in pairs]
    yield _gauge("kingpost_running_requests", "Async calls.", LABELS, running)
    backlog = sum(counted.queued for _, counted in pairs)
    yield _gauge("kingpost_backlog", "Waiting requests of all models.", (), [((), backlog)])
    ages = [
        ((*labels, str(level)), age)
        for labels, counted in pairs
        for level, age in counted.oldest.items()
    ]
    about = "Age of the oldest request that waits."
    yield _gauge("kingpost_oldest_request_age_seconds", about, (*LABELS, "level"), ages)
    paused = [(labels, float(counted.paused)) for labels, counted in pairs]
    yield _gauge("kingpost_paused", "1 if its queue is paused.", LABELS, paused)
    each = snapshot.deployments
    names = [(deployment.model_name, deployment.id) for deployment in each]
    wanted = zip(names, (deployment.wanted for deployment in each), strict=True)
    yield _gauge("kingpost_wanted_replicas", "Replicas that it should have.", LABELS, wanted)
    failed = zip(names, (float(bool(deployment.failure)) for deployment in each), strict=True)
    about = "1 if it could not be loaded, and did not load since."
    yield _gauge("kingpost_load_failed", about, LABELS, failed)
    places = [
        ((model.name, environment.deployment_id, environment.name), 1)
        for model in snapshot.models
        for environment in model.environments.values()
        if environment.deployment_id
    ]
    about = "Which deployment an environment points at, to join with the others."
    yield _gauge("kingpost_environment_info", about, (*LABELS, "environment"), places)


def _of_replicas(replicas: Iterable[Replica]) -> Iterator[Metric]:
    states: Counter[tuple[str, str, str]] = Counter()
    slots: Counter[tuple[str, str]] = Counter()
    busy: Counter[tuple[str, str]] = Counter()
    for replica in replicas:
        labels = (replica.model_name, replica.deployment_id)
        states[(*labels, replica.state)] += 1
        slots[labels] += replica.slots if replica.state == "ready" else 0
        busy[labels] += replica.busy
    labels = (*LABELS, "state")
    yield _gauge("kingpost_replicas", "Replicas by state.", labels, states.items())
    yield _gauge("kingpost_slots", "Slots of ready replicas.", LABELS, slots.items())
    yield _gauge("kingpost_busy_slots", "Slots that are in use.", LABELS, busy.items())


def _of_webhooks(snapshot: Snapshot) -> Iterator[Metric]:
    about = "Replicas that made room for another deployment."
    yield CounterMetricFamily("kingpost_switches", about, snapshot.switches)
    pending, given_up = snapshot.webhooks.pending, snapshot.webhooks.exhausted
    about = "Webhooks not delivered yet."
    yield _gauge("kingpost_webhooks_pending", about, (), [((), pending)])
    yield _gauge(
        "kingpost_webhooks_exhausted", "Webhooks that were given up.", (), [((), given_up)]
    )


def _of_nodes(nodes: Sequence[Heard]) -> Iterator[Metric]:
    label = ("node",)
    about = "Time since the node last reported itself."
    ages = [((heard.node.host,), heard.age / 1000) for heard in nodes]
    yield _gauge("kingpost_node_report_age_seconds", about, label, ages)
    slots = [((heard.node.host,), heard.node.slots) for heard in nodes]
    yield _gauge("kingpost_node_slots", "Places for replicas without a GPU.", label, slots)
    free = [((heard.node.host,), heard.node.free_slots) for heard in nodes]
    yield _gauge("kingpost_node_free_slots", "Such places that are free.", label, free)
    about = "How far its clock is ahead of the job store's."
    clocks = [((h.node.host,), h.clock_offset) for h in nodes if h.clock_offset is not None]
    yield _gauge("kingpost_node_clock_offset_seconds", about, label, clocks)
    yield from _of_gpus(nodes)


def _of_gpus(nodes: Sequence[Heard]) -> Iterator[Metric]:
    labels = ("node", "gpu", "name")
    devices = [
        ((heard.node.host, device.index, device.name), device)
        for heard in nodes
        for device in heard.node.devices
    ]
    memory = [(names, device.memory) for names, device in devices if device.memory]
    yield _gauge("kingpost_gpu_memory_bytes", "Memory of the GPU.", labels, memory)
    used = [(names, device.used) for names, device in devices if device.used is not None]
    about = "Memory in use, by whomever."
    yield _gauge("kingpost_gpu_memory_used_bytes", about, labels, used)
    at_work = [(names, d.utilisation) for names, d in devices if d.utilisation is not None]
    about = "Share of the last moment in which it computed."
    yield _gauge("kingpost_gpu_utilization_ratio", about, labels, at_work)
    shares = [(names, device.free) for names, device in devices]
    yield _gauge("kingpost_gpu_free_ratio", "Share that no replica has.", labels, shares)
    warm = [(names, d.temperature) for names, d in devices if d.temperature is not None]
    yield _gauge("kingpost_gpu_temperature_celsius", "Temperature of the GPU.", labels, warm)
    about = "Uncorrected errors of its memory since the driver was loaded."
    errors = CounterMetricFamily("kingpost_gpu_ecc_errors", about, labels=labels)
    for names, device in devices:
        if device.ecc_errors is not None:
            errors.add_metric(names, device.ecc_errors)
    yield errors

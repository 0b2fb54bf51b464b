"""What needs somebody, with the reason and the page where it can be seen or mended."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import cast
from urllib.parse import urlencode

from api.console.deliveries import told
from api.console.overview import DeploymentRow, ModelRow
from api.console.sessions import Viewer
from api.gateway import Gateway
from api.routes.control.overview import NodeView
from api.schemas import AttemptView
from tasks.settings import Settings
from tasks.store.history import POISON
from tasks.store.hour import Hour
from tasks.store.job_store import unavailable
from tasks.webhooks import verbs as outbox
from tasks.webhooks.verbs import GivenUp

NEARLY_FULL = 0.9  # of a queue: from then on it is shown, before submissions are refused
LONG_LOAD_SECONDS = 120.0  # s: a load that takes longer is shown, as it may hang
MOST = 30  # entries; one more says how many are left out


@dataclass(frozen=True)
class Attention:
    """Something that somebody should look at: what, why, and where."""

    what: str
    why: str
    path: str


async def attention(
    gateway: Gateway,
    viewer: Viewer,
    rows: Sequence[ModelRow],
    hour: Hour | None,
    nodes: Sequence[NodeView] | None,
) -> list[Attention]:
    """What needs somebody, most urgent first. `hour` and `nodes` are None if the viewer may not see them."""
    found: list[Attention] = []
    if trouble := await gateway.epoch.trouble():
        found.append(Attention("The store has lost data", str(trouble), "/ui"))
    if viewer.may("admin"):
        found += await _store(gateway)
    if nodes is not None:
        found += _nodes(nodes, rows)
    for row in rows:
        found += _model(row, hour, gateway.settings.max_queued)
    if viewer.may("admin"):
        status = await gateway.store.run(outbox.outbox_status(1))
        if status.exhausted:
            what = f"{_count(status.exhausted, 'webhook')} given up"
            found.append(Attention(what, _why(status.latest, gateway.settings), "/ui/webhooks"))
    if len(found) > MOST:
        more = Attention(f"{len(found) - MOST} more", "The first ones are more urgent.", "/ui")
        found = [*found[:MOST], more]
    return found


def _why(latest: Sequence[GivenUp], settings: Settings) -> str:
    """What came of the last attempt of the latest webhook that was given up."""
    if not latest or not latest[0].attempts:
        return "Their servers did not take them."
    attempt = AttemptView.model_validate(latest[0].attempts[-1])
    words = told(attempt, latest[0].url, settings)
    return f"The latest: {words.what}. {words.hint}".strip()


async def _store(gateway: Gateway) -> list[Attention]:
    with unavailable():
        info = cast(dict[str, object], await gateway.store.redis.info("persistence"))
    if not info.get("aof_enabled", 1):
        why = "A restart of the store loses every request. It needs appendonly yes and appendfsync always."
        return [Attention("The store writes no log to its disk", why, "/ui/settings#store")]
    if info.get("aof_last_write_status", "ok") != "ok":
        why = "Requests are refused until it can. Its disk may be full."
        return [Attention("The store cannot write to its disk", why, "/ui/settings#store")]
    return []


def _nodes(nodes: Sequence[NodeView], rows: Sequence[ModelRow]) -> Iterator[Attention]:
    ours, path = version("kingpost"), "/ui/nodes"
    for node in nodes:
        if not node.alive:
            what = f"The node {node.host} is silent"
            why = "Its replicas start on other nodes that have room. It is shown for ten minutes."
            yield Attention(what, why, f"{path}#n{node.id}")
        elif node.version != ours:
            what = f"The node {node.host} runs Kingpost {node.version or 'of an unknown version'}"
            yield Attention(
                what, f"This API has {ours}; start the node anew.", f"{path}#n{node.id}"
            )
    if not any(node.alive for node in nodes) and any(r.queued and not r.ready for r in rows):
        what = "Requests wait for replicas, and no node reports"
        yield Attention(what, "`kingpost up` runs one, and `kingpost node` another.", path)


def _model(row: ModelRow, hour: Hour | None, max_queued: int) -> Iterator[Attention]:
    name, path = row.model.name, f"/ui/models/{row.model.id}"
    for entry in row.broken:
        lines = entry.reason.strip().splitlines()
        what = f"{name} {entry.deployment.id} could not be loaded"
        yield Attention(what, lines[-1] if lines else "", f"{path}#d{entry.deployment.id}")
    for entry in row.deployments:
        yield from _long_load(entry, name, path)
        queued = entry.queue.queued
        jobs = f"/ui/jobs?deployment={entry.deployment.id}&status=QUEUED"
        if queued >= max_queued * NEARLY_FULL:
            full = "full" if queued >= max_queued else "nearly full"
            count = f"{queued:,} of {max_queued:,} requests wait"
            why = f"{count}. Submissions get 429 when it is full."
            yield Attention(f"The queue of {name} is {full}", why, jobs)
        if queued and not entry.deployment.active:
            what = f"{_count(queued, 'request')} of {name} for a deployment that is not active"
            yield Attention(what, "Activate it, or move the requests.", jobs)
    if row.paused and row.queued:
        what = f"{_count(row.queued, 'request')} of {name} held back, because it is paused"
        yield Attention(what, "Resume the model to run them.", path)
    if hour and (poison := hour.of(row.ids).total.ends[POISON]):
        what = f"{_count(poison, 'request')} of {name} ended the replica each time it ran"
        query = urlencode({"model": row.model.id, "status": "FAILED", "error_code": POISON})
        yield Attention(what, "Not run again. This is about the last hour.", f"/ui/jobs?{query}")


def _long_load(entry: DeploymentRow, name: str, path: str) -> Iterator[Attention]:
    """The longest load of a deployment that goes on, if it has taken LONG_LOAD_SECONDS."""
    lasts = max((replica.loading_seconds or 0.0 for replica in entry.replicas), default=0.0)
    if lasts >= LONG_LOAD_SECONDS:
        what = f"{name} {entry.deployment.id} has been loading for {lasts // 60:.0f} min"
        why = "Its log lines say how far it has come, or where it hangs."
        yield Attention(what, why, f"{path}#d{entry.deployment.id}")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"

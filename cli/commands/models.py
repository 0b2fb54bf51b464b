"""`kingpost models`: shows what is deployed, whether it is loaded, and if not, why."""

import json
import shutil
import textwrap
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from cli.client.choosing import chosen_client
from cli.commands.deployed import pointing, pointing_at
from cli.options import AsJson
from cli.running import current_settings
from cli.tables import last_line, lines
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment, Replica
from tasks.outside_text import printable
from tasks.settings import Settings
from tasks.store import verbs
from tasks.store.job_store import JobStore

if TYPE_CHECKING:
    from kingpost import Client
    from kingpost.records import Deployment as Known

# The state of a deployment is the best of its replicas' states.
BEST_FIRST = ("ready", "loading", "building", "failed", "draining")
PRODUCTION = "production"
# The state in one word for each status of the API.
STATES = {
    "ACTIVE": "ready", "BUILDING": "building", "DEPLOYING": "stopped", "LOADING_MODEL": "loading",
    "WAKING_UP": "loading", "DEPLOY_FAILED": "failed", "UNHEALTHY": "failed", "DEACTIVATING": "draining",
    "INACTIVE": "stopped", "SCALED_TO_ZERO": "stopped",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One deployment with its replicas, its queue and the environments that point at it."""

    deployment: Deployment
    replicas: list[Replica]
    queued: int
    running: int
    leader: str = ""  # the chainlet in whose process it runs
    paused: bool = False
    serves: str = "-"  # production, else all environments that point at it

    @property
    def state(self) -> str:
        """The state in one word. It is `stopped` when no replica reports."""
        states = {replica.state for replica in self.replicas}
        none = "failed" if self.deployment.gave_up else "stopped"
        state = next((state for state in BEST_FIRST if state in states), none)
        return "paused" if self.paused and state in ("ready", "stopped") else state

    @property
    def slots(self) -> int:
        """How many calls can run at once now."""
        return sum(replica.slots for replica in self.replicas if replica.state == "ready")

    @property
    def line(self) -> "Line":
        """What is shown of it."""
        known = self.deployment
        ids = (known.model_name, known.model_id, known.id, self.serves)
        return Line(*ids, self.state, self.slots, self.queued, self.running, self.remark)

    @property
    def is_history(self) -> bool:
        """Whether an environment has left it and nothing of it runs or waits."""
        busy = self.replicas or self.queued or self.running
        return self.deployment.retired and self.serves == "-" and not busy

    @property
    def remark(self) -> str | None:
        """A note below the model: why it is not loaded, what happens about it, or a limit of its config.yaml."""
        errors = [last_line(replica.error) for replica in self.replicas if replica.error]
        notes = [replica.note for replica in self.replicas if replica.note]
        kept = [last_line(self.deployment.failure)] if self.deployment.failure else []
        name = self.deployment.model_name
        paused = [f"its queue waits for: kingpost resume {name}"] if self.paused else []
        off = f"deactivated: kingpost activate {self.deployment.id}"
        inactive = [] if self.deployment.active else [off]
        shared = [f"in the process of {self.leader}"] if self.leader else []
        limits = ["; ".join(self.deployment.warnings)] if self.deployment.warnings else []
        said = errors + notes + kept + paused + inactive + shared + limits
        return next(iter(said), None)


@dataclass(frozen=True)
class Line:
    """One deployment as it is shown."""

    model: str
    id: str
    deployment: str
    serves: str
    state: str
    slots: int
    queued: int
    running: int
    remark: str | None


def list_models(as_json: AsJson = False) -> None:
    """Shows what is deployed: state, slots, queue, and why a model is not loaded."""
    client = chosen_client()
    found = _on_server(client) if client else [row.line for row in read(current_settings())]
    if as_json:
        print(json.dumps([asdict(line) for line in found]))
        return
    if not found:
        print("No model is deployed yet: `kingpost up` or `kingpost push DIR`.")
        return
    for text in table(found, shutil.get_terminal_size((80, 24)).columns):
        print(text)


def _on_server(client: "Client") -> list[Line]:
    """The deployments that are not history: by model, production first, then the newest."""
    found: list[Line] = []
    for model in client.models.list():
        known = sorted(
            client.deployments.list(model.name), key=lambda entry: entry.raw["created_at"]
        )
        rows = [_line(client, model.name, entry) for entry in reversed(known)]
        kept = [row for row in rows if row is not None]
        found += sorted(kept, key=lambda row: row.serves != PRODUCTION)
    return found


def _line(client: "Client", model: str, known: "Known") -> Line | None:
    """A deployment of a server; None if it is history."""
    queue = client.queue(model, deployment=known.id)
    queued, running = queue.num_queued_requests, queue.num_in_progress_requests
    serves = pointing(known.environments, known.candidate_for)
    serves = PRODUCTION if PRODUCTION in known.environments else serves
    state = STATES.get(known.status, known.status.lower())
    if known.retired and serves == "-" and state == "stopped" and not (queued or running):
        return None
    off = f"deactivated: kingpost activate {known.id}" if known.status == "INACTIVE" else ""
    why = last_line(known.status_reason) if known.status_reason else ""
    remark = why or off or "; ".join(known.warnings) or None
    ids = (model, known.model_id, known.id)
    return Line(*ids, serves, state, known.slots, queued, running, remark)


def read(settings: Settings) -> list[Row]:
    """The deployments that are not history: by model, production first, then the newest. Raises StoreUnavailable."""
    store = JobStore(settings)
    replicas: dict[str, list[Replica]] = defaultdict(list)
    for replica in store.run(registry.replicas()):
        replicas[replica.deployment_id].append(replica)
    deployments = store.run(registry.deployments())
    names = {deployment.id: deployment.model_name for deployment in deployments}
    models = {deployment.model_id for deployment in deployments}
    environments = {model: store.run(registry.environments(model)).values() for model in models}
    rows: list[Row] = []
    for deployment in deployments:
        queue = store.run(verbs.queue_status(deployment.id))
        pointing = pointing_at(deployment, environments[deployment.model_id])
        serves = PRODUCTION if PRODUCTION in pointing.split(", ") else pointing
        leader = names.get(deployment.leader, "")
        of_it, counts = replicas[deployment.id], (queue.queued, queue.in_progress)
        rows.append(Row(deployment, of_it, *counts, leader, queue.paused, serves))
    store.close()
    return sorted((row for row in rows if not row.is_history), key=_place)


def _place(row: Row) -> tuple[str, str, bool, int, str]:
    deployment = row.deployment
    model = (deployment.model_name, deployment.model_id)
    return (*model, row.serves != PRODUCTION, -deployment.created, deployment.id)


def render(rows: Sequence[Row], width: int = 80) -> list[str]:
    """The lines of the table."""
    return table([row.line for row in rows], width)


def table(found: Sequence[Line], width: int) -> list[str]:
    """The lines of the table. A reason stands below its deployment."""
    head = ("model", "id", "deployment", "serves", "state", "slots", "queued", "running")
    cells = [[str(getattr(line, name)) for name in head] for line in found]
    return lines(head, cells, width, [_remark(line, width) for line in found])


def _remark(line: Line, width: int) -> list[str]:
    text = printable(line.remark or "").replace("\n", " ")
    return textwrap.wrap(text, width - 2, max_lines=3)

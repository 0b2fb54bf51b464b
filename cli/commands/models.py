"""`kingpost models`: shows what is deployed, whether it is loaded, and if not, why."""

import shutil
import textwrap
from dataclasses import dataclass

from cli.running import current_settings
from cli.stack.readiness import last_line
from cli.tables import lines
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment, Replica
from tasks.outside_text import printable
from tasks.settings import Settings
from tasks.store import verbs
from tasks.store.job_store import JobStore

# The state of a deployment is the best of its replicas' states.
BEST_FIRST = ("ready", "loading", "building", "failed", "draining")


@dataclass(frozen=True)
class Row:
    """One deployment with its replicas and its queue."""

    deployment: Deployment
    replicas: list[Replica]
    queued: int
    running: int
    leader: str = ""  # the chainlet in whose process it runs

    @property
    def state(self) -> str:
        """The state in one word. It is `stopped` when no replica reports."""
        states = {replica.state for replica in self.replicas}
        none = "failed" if self.deployment.gave_up else "stopped"
        return next((state for state in BEST_FIRST if state in states), none)

    @property
    def slots(self) -> int:
        """How many calls can run at once now."""
        return sum(replica.slots for replica in self.replicas if replica.state == "ready")

    @property
    def remark(self) -> str | None:
        """A note below the model: why it is not loaded, what happens about it, or a limit of its config.yaml."""
        errors = [last_line(replica.error) for replica in self.replicas if replica.error]
        notes = [replica.note for replica in self.replicas if replica.note]
        kept = [last_line(self.deployment.failure)] if self.deployment.failure else []
        shared = [f"in the process of {self.leader}"] if self.leader else []
        limits = ["; ".join(self.deployment.warnings)] if self.deployment.warnings else []
        return next(iter(errors + notes + kept + shared + limits), None)


def list_models() -> None:
    """Shows every model: state, slots, queue, and why it is not loaded."""
    rows = read(current_settings())
    if not rows:
        print("No model is deployed yet: `kingpost up` or `kingpost replica DIR`.")
        return
    for line in render(rows, shutil.get_terminal_size((80, 24)).columns):
        print(line)


def read(settings: Settings) -> list[Row]:
    """Every deployment, by name. Raises StoreUnavailable."""
    store = JobStore(settings)
    replicas = store.run(registry.replicas())
    rows: list[Row] = []
    deployments = store.run(registry.deployments())
    names = {deployment.id: deployment.model_name for deployment in deployments}
    for deployment in deployments:
        queue = store.run(verbs.queue_status(deployment.id))
        of_it = [replica for replica in replicas if replica.deployment_id == deployment.id]
        leader = names.get(deployment.leader, "")
        rows.append(Row(deployment, of_it, queue.queued, queue.in_progress, leader))
    store.close()
    return sorted(rows, key=lambda row: row.deployment.model_name)


def render(rows: list[Row], width: int = 80) -> list[str]:
    """The lines of the table. A reason stands below its model."""
    head = ("model", "id", "state", "slots", "queued", "running")
    cells = [
        (
            row.deployment.model_name, row.deployment.model_id, row.state,
            str(row.slots), str(row.queued), str(row.running),
        )
        for row in rows
    ]  # fmt: skip
    return lines(head, cells, width, [_remark(row, width) for row in rows])


def _remark(row: Row, width: int) -> list[str]:
    text = printable(row.remark or "").replace("\n", " ")
    return textwrap.wrap(text, width - 2, max_lines=3)

"""`kingpost models`: shows what is deployed, whether it is loaded, and if not, why."""

import json
import shlex
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from cli.client.choosing import chosen_client
from cli.commands.shown import HELD, IDLE, PRODUCTION, ModelLine, pointing
from cli.options import AsJson
from cli.tables import last_line, lines
from tasks.outside_text import printable

if TYPE_CHECKING:
    from kingpost import Client
    from kingpost.records import Deployment as Known

# The state in one word for each status of the API, as `kingpost models` has it on the store, too.
STATES = {
    "ACTIVE": "ready", "BUILDING": "building", "DEPLOYING": "stopped", "LOADING_MODEL": "loading",
    "WAKING_UP": "loading", "DEPLOY_FAILED": "failed", "UNHEALTHY": "failed", "DEACTIVATING": "draining",
    "INACTIVE": "inactive", "SCALED_TO_ZERO": "asleep",
}  # fmt: skip


def list_models(as_json: AsJson = False) -> None:
    """Shows what is deployed: state, slots, queue, and why a model is not loaded."""
    client = chosen_client()
    found = _on_server(client) if client else _on_store()
    if as_json:
        print(json.dumps([asdict(line) for line in found]))
        return
    if not found:
        print("No model is deployed yet: `kingpost up` or `kingpost push DIR`.")
        return
    for text in table(found, shutil.get_terminal_size((80, 24)).columns):
        print(text)


def _on_store() -> list[ModelLine]:
    from cli.local.listing import read
    from cli.running import current_settings

    return [row.line for row in read(current_settings())]


def _on_server(client: "Client") -> list[ModelLine]:
    """The deployments by model, production first, then the newest. Those are left out that `_line` calls history."""
    found: list[ModelLine] = []
    for model in client.models.list():
        known = sorted(
            client.deployments.list(model.name), key=lambda entry: entry.raw["created_at"]
        )
        rows = [_line(client, model.name, entry) for entry in reversed(known)]
        kept = [row for row in rows if row is not None]
        found += sorted(kept, key=lambda row: row.serves != PRODUCTION)
    return found


def _line(client: "Client", model: str, known: "Known") -> ModelLine | None:
    """A deployment of a server. None if it is history: an environment has left it, and nothing of it runs or waits."""
    queue = client.queue(model, deployment=known.id)
    queued, running = queue.num_queued_requests, queue.num_in_progress_requests
    serves = pointing(known.environments, known.candidate_for)
    serves = PRODUCTION if PRODUCTION in known.environments else serves
    state = STATES.get(known.status, known.status.lower())
    state = "paused" if known.paused and state in HELD else state
    if known.retired and serves == "-" and state in IDLE and not (queued or running):
        return None
    held = f"its queue waits for: kingpost resume {shlex.quote(model)}" if known.paused else ""
    off = f"deactivated: kingpost activate {known.id}" if known.status == "INACTIVE" else ""
    why = last_line(known.status_reason) if known.status_reason else ""
    remark = why or held or off or "; ".join(known.warnings) or None
    ids = (model, known.model_id, known.id)
    return ModelLine(*ids, serves, state, known.slots, queued, running, remark)


def table(found: Sequence[ModelLine], width: int) -> list[str]:
    """The lines of the table. A reason stands below its deployment."""
    head = ("model", "id", "deployment", "serves", "state", "slots", "queued", "running")
    cells = [[str(getattr(line, name)) for name in head] for line in found]
    return lines(head, cells, width, [_wrapped_remark(line, width) for line in found])


def _wrapped_remark(line: ModelLine, width: int) -> list[str]:
    text = printable(line.remark or "").replace("\n", " ")
    return textwrap.wrap(text, width - 2, max_lines=3)

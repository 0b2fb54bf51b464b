"""What was counted of the loads of each deployment since its first one, for metrics. The counts end with the deployment.

- `ready`, `failed`: loads, by how they ended
- `cold`: those that got ready while no other replica of the deployment was, so that its requests waited for them
- `woken`: how often the autoscaler wanted a replica of a deployment that had none
- `load:N` and `load:ms`: how long the loads took that got ready, in the steps of tasks/store/totals.py
"""

from collections.abc import Sequence

from deployments.registry.verbs import SCRIPTS
from tasks.store.records import Reply, items, number, text
from tasks.store.totals import BATCH, Counts, step_of
from tasks.store.verbs import ScriptCall


def count_load(deployment_id: str, seconds: float | None, *, cold: bool = False) -> ScriptCall[str]:
    """Counts a load that got ready after that time, or failed (None): 'counted', or 'missing' if the deployment is gone."""
    how, took = ("failed", 0.0) if seconds is None else ("ready", seconds)
    arguments = [deployment_id, how, int(cold), step_of(took), int(took * 1000)]
    return ScriptCall("count_load", arguments, text, SCRIPTS)


def load_counts(deployments: Sequence[str]) -> ScriptCall[list[Counts]]:
    """The counts of these deployments, in their order; at most BATCH of them."""

    def read(reply: Reply) -> list[Counts]:
        return [_counts(items(row)) for row in items(reply)]

    return ScriptCall("load_counts", deployments[:BATCH], read, SCRIPTS)


def _counts(flat: Sequence[Reply]) -> Counts:
    pairs = iter(flat)
    return Counts({text(name): number(count) for name, count in zip(pairs, pairs, strict=True)})

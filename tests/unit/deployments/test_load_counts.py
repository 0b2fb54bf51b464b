"""The counts of loads on a real Valkey: how they ended, how long they took, and how often a deployment was woken."""

import pytest

from deployments.registry import verbs as registry
from deployments.registry.load_counts import count_load, load_counts
from deployments.registry.removal import Removal
from tasks.store.job_store import AsyncJobStore, JobStore
from tasks.store.totals import STEPS, Counts, step_of


def counted(store: JobStore, deployment_id: str) -> Counts:
    (found,) = store.run(load_counts([deployment_id]))
    return found


def test_loads_are_counted_by_how_they_ended(store: JobStore) -> None:
    id_ = store.run(registry.push("m", "hash", 1)).id
    assert counted(store, id_).counts == {}
    store.run(count_load(id_, 1.5, cold=True))
    store.run(count_load(id_, 60.0))
    store.run(count_load(id_, None, cold=True))
    found = counted(store, id_)
    assert [found.counts[name] for name in ("ready", "failed", "cold")] == [2, 1, 1]
    durations = found.durations("load")
    assert (durations.count, durations.seconds) == (2, 61.5)


@pytest.mark.parametrize("milliseconds", [0, 0.4, 1, 1.01, 2, 3, 4, 1000, 1024, 1025, 2.0**40])
def test_a_duration_is_in_the_first_step_that_is_not_shorter(milliseconds: float) -> None:
    step = step_of(milliseconds / 1000)
    assert milliseconds <= 2**step or step == STEPS - 1
    assert step == 0 or milliseconds > 2 ** (step - 1)


def test_a_deployment_that_had_no_replicas_is_woken(store: JobStore) -> None:
    id_ = store.run(registry.push("m", "hash", 1)).id
    for wanted in (1, 0, 0, 2, 1, 0, 1):
        store.run(registry.scale(id_, wanted, 1, True, set()))
    assert counted(store, id_).counts == {"woken": 2}


async def test_the_counts_end_with_the_deployment(
    store: JobStore, async_store: AsyncJobStore
) -> None:
    id_ = store.run(registry.push("m", "hash", 1)).id
    store.run(count_load(id_, 1.0))
    await Removal(async_store).model("m", force=True)
    assert store.run(count_load(id_, 1.0)) == "missing"
    assert counted(store, id_).counts == {}

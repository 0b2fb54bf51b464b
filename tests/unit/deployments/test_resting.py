"""A deployment without work and replicas costs the autoscaler nothing, and wakes for whatever may need it."""

from collections.abc import Callable
from typing import Any

import pytest

from deployments.registry import verbs as registry
from deployments.registry.autoscaler import Autoscaler
from deployments.registry.keys import keyed, plain
from deployments.registry.records import Deployment
from tasks.job import RequestId, Submission
from tasks.settings import Settings
from tasks.store import verbs
from tasks.store.job_store import AsyncJobStore, JobStore
from tasks.store.verbs import ScriptCall


class Watched:
    """An autoscaler, and the deployments whose loads it has asked for."""

    def __init__(
        self, store: AsyncJobStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.scaling = Autoscaler(store, settings)
        self._asked = set[str]()
        run = store.run

        async def noted(call: ScriptCall[Any]) -> Any:
            if call.script == "loads":
                self._asked |= {str(id_) for id_ in call.arguments}
            return await run(call)

        monkeypatch.setattr(store, "run", noted)

    async def asked(self) -> set[str]:
        """Those of one round."""
        self._asked = set()
        assert await self.scaling.run_once()
        return self._asked


@pytest.fixture
def watched(
    async_store: AsyncJobStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Watched:
    return Watched(async_store, settings, monkeypatch)


def resting(store: JobStore, name: str) -> Deployment:
    """A deployment that was scaled to zero after it had served."""
    pushed = store.run(registry.push(name, name, 1))
    store.run(registry.scale(pushed.id, 0, 0.0, False, {"ready"}))
    return store.run(registry.deployment(pushed.id))


def submit(store: JobStore, known: Deployment) -> None:
    submission = Submission(RequestId("1" * 32), known.id, known.model_id, b"1")
    store.run(verbs.submit([submission], "key", 10))


WAKES: dict[str, Callable[[JobStore, Deployment], object]] = {
    "a job": submit,
    "a call that waits": lambda store, known: store.run(registry.demand(known.id)),
    "a promotion": lambda store, known: store.run(registry.promote(known, "staging")),
    "a smallest number of replicas": lambda store, known: store.run(
        registry.configure(known.id, known.autoscaling.changed({"min_replica": 1}))
    ),
    "the same push again": lambda store, known: store.run(
        registry.push(known.model_name, known.model_name, 1)
    ),
}


@pytest.mark.parametrize("cause", WAKES)
async def test_one_that_rests_is_not_looked_at_until_there_is_a_cause(
    store: JobStore, watched: Watched, cause: str
) -> None:
    known, other = resting(store, "known"), resting(store, "other")
    if cause == "a promotion":
        store.run(registry.promote(other, "staging"))  # so that this one becomes a candidate
        store.redis.hset(keyed("environments", known.model_id), "staging", "another")
    assert await watched.asked() == set()
    WAKES[cause](store, known)
    assert await watched.asked() == {known.id}
    assert store.run(registry.deployment(known.id)).wanted == 1


async def test_one_whose_jobs_run_or_that_has_a_replica_is_looked_at(
    store: JobStore, watched: Watched
) -> None:
    known = resting(store, "known")
    submit(store, known)
    assert store.run(verbs.claim(known.id, "c:0", "a" * 16, "r"))
    assert await watched.asked() == {known.id}
    store.redis.srem("{kingpost}:backlog", known.id)  # as the sweeper does
    assert await watched.asked() == {known.id}


async def test_a_demand_that_is_over_is_forgotten(store: JobStore, watched: Watched) -> None:
    known = resting(store, "known")
    store.run(registry.demand(known.id))
    store.redis.delete(keyed("demand", known.id))
    assert await watched.asked() == set()
    assert not store.redis.exists(plain("demanded"))


async def test_one_that_shares_a_process_is_looked_at_with_its_leader(
    store: JobStore, watched: Watched
) -> None:
    leader, follower = resting(store, "leader"), resting(store, "follower")
    store.redis.hset(keyed("deployment", follower.id), "leader", leader.id)
    assert await watched.asked() == set()
    store.run(registry.demand(follower.id))
    assert await watched.asked() == {leader.id, follower.id}
    assert store.run(registry.deployment(leader.id)).wanted == 1

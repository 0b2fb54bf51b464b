"""Nodes ask for a seat only where one may be free, so that an idle fleet does not ask for seats that are all taken."""

from pathlib import Path
from typing import Any

import pytest

from deployments.registry import verbs as registry
from deployments.registry.autoscaler import Autoscaler
from deployments.registry.keys import keyed
from deployments.registry.pages import lapse, vacant
from deployments.registry.records import Deployment, Seat
from deployments.registry.removal import Removal
from tasks.settings import Settings
from tasks.store.job_store import AsyncJobStore, JobStore
from tasks.store.verbs import ScriptCall
from tests.conftest import Clock
from workers.node.main import Node

SEAT_MS = 15_000


@pytest.fixture
def pushed(store: JobStore) -> Deployment:
    return store.run(registry.push("m", "h", 1))


def test_a_deployment_is_vacant_exactly_while_a_seat_of_it_is_free(
    store: JobStore, settings: Settings, pushed: Deployment
) -> None:
    id_, (first, second) = pushed.id, (Seat(pushed.id, name) for name in ("r1", "r2"))
    for change, free in (
        (registry.needy(), True),  # it was pushed
        (registry.take_seat(first, SEAT_MS), False),
        (registry.scale(id_, 2, 1, True, {"ready"}), True),
        (registry.take_seat(second, SEAT_MS), False),
        (registry.leave_seat(first), True),
        (registry.scale(id_, 1, 1, True, {"ready"}), False),
        (registry.leave_seat(second), True),
        (registry.scale(id_, 0, 0, False, set()), False),
        (registry.activate(id_, False), False),
        (registry.activate(id_), True),
        (registry.fail_load(id_, "no weights", settings.model_copy(update={"load_failures": 1})), True),
        (registry.take_seat(first, SEAT_MS), False),  # it gave up, which the one who asks is told
        (registry.retry(id_), True),
    ):  # fmt: skip
        store.run(change)
        assert store.run(vacant()) == ({id_} if free else set())


def test_seats_that_nobody_renews_are_free_when_somebody_looks(
    store: JobStore, pushed: Deployment, clock: Clock
) -> None:
    assert store.run(registry.take_seat(Seat(pushed.id, "r1"), SEAT_MS))
    clock.advance(SEAT_MS / 1000 + 1)
    assert store.run(vacant()) == set()
    assert store.run(lapse([pushed.id])) == 1
    assert store.run(vacant()) == {pushed.id}


def test_who_holds_a_seat_sees_that_another_one_lapsed(
    store: JobStore, pushed: Deployment, clock: Clock
) -> None:
    store.run(registry.scale(pushed.id, 2, 1, True, {"ready"}))
    held, lost = Seat(pushed.id, "r1"), Seat(pushed.id, "r2")
    for seat, ms in ((held, 2 * SEAT_MS), (lost, SEAT_MS)):
        assert store.run(registry.take_seat(seat, ms))
    clock.advance(SEAT_MS / 1000 + 1)
    assert store.run(registry.hold_seats([held], SEAT_MS)) == ["held"]
    assert store.run(vacant()) == {pushed.id}


async def test_the_autoscaler_looks_for_seats_that_lapsed(
    store: JobStore,
    async_store: AsyncJobStore,
    settings: Settings,
    pushed: Deployment,
    clock: Clock,
) -> None:
    assert store.run(registry.take_seat(Seat(pushed.id, "r1"), SEAT_MS))
    clock.advance(SEAT_MS / 1000 + 1)
    assert await Autoscaler(async_store, settings).run_once()
    assert store.run(vacant()) == {pushed.id}


async def test_a_deployment_that_is_deleted_is_not_vacant(
    store: JobStore, async_store: AsyncJobStore, pushed: Deployment
) -> None:
    kept = store.run(registry.push("m", "another", 1))
    store.run(registry.promote(kept))
    store.run(registry.switch(kept.model_id, "production", kept.id))
    assert pushed.id in store.run(vacant())
    await Removal(async_store).deployment("m", pushed.id, True)
    assert pushed.id not in store.run(vacant())


def test_a_seat_is_written_again_only_when_a_part_of_its_time_is_over(
    store: JobStore, pushed: Deployment, clock: Clock
) -> None:
    seat, ends = Seat(pushed.id, "r1"), set[Any]()
    store.run(registry.take_seat(seat, SEAT_MS))
    for _ in range(6):
        clock.advance(1)
        assert store.run(registry.hold_seats([seat], SEAT_MS)) == ["held"]
        ends.add(store.redis.zscore(keyed("seats", pushed.id), "r1"))
    assert 2 <= len(ends) <= 3


async def test_a_node_with_room_asks_for_no_seat_that_others_have(
    store: JobStore,
    settings: Settings,
    pushed: Deployment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store.run(registry.take_seat(Seat(pushed.id, "elsewhere"), SEAT_MS))
    node = Node(settings.model_copy(update={"state_dir": tmp_path}), lambda _part, _what: None)
    asked, run = list[str](), node._store.run  # pyright: ignore[reportPrivateUsage]

    async def noted(call: ScriptCall[Any]) -> Any:
        asked.append(call.script)
        return await run(call)

    monkeypatch.setattr(node._store, "run", noted)  # pyright: ignore[reportPrivateUsage]
    await node.run_once()
    assert "vacant" in asked
    assert "take_seat" not in asked
    await node.stop()

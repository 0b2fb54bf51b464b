"""Turns at a batch: who has lost his turn changes nothing any more, and who works keeps it."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from tasks.batches import verbs as batches
from tasks.batches.verbs import Turn
from tasks.settings import Settings
from tasks.store import keys
from tasks.store.job_store import JobStore
from tasks.store.verbs import ScriptCall
from tests.conftest import Clock

TURN_SECONDS = 5
STEPS: dict[str, Callable[[Turn], ScriptCall[Any]]] = {
    "hold": batches.hold,
    "leave": lambda turn: batches.leave(turn, 1000),
    "begin": lambda turn: batches.begin(turn, 3, [0, 0, 90, 3]),
    "refuse": lambda turn: batches.refuse(turn, [{"message": "no JSON"}]),
    "sent": lambda turn: batches.sent(turn, 0),
    "wrote": lambda turn: batches.wrote(turn, 0, (3, 0, 0), (90, 0), []),
    "finalize": batches.finalize,
    "end": lambda turn: batches.end(turn, {"output": ("out1", "ref1", 90)}),
}


def created(store: JobStore) -> str:
    file = {"key": "alice", "purpose": "batch", "expires": 2**50, "size": 90, "ref": "ref0"}
    store.redis.hset(keys.keyed("file", "in1"), mapping=file)  # type: ignore[arg-type]
    call = batches.create("b1", "alice", "/v1/embeddings", "in1", ("24h", 86_400_000), None, 1000)
    return store.run(call).id


def taken(store: JobStore, fence: str) -> Turn:
    turn = store.run(batches.take(fence))
    assert turn
    return turn


def all_of(store: JobStore) -> dict[bytes, object]:
    """Every key of the store but the clock's, as it is."""
    found = cast("list[bytes]", store.redis.keys("{kingpost}:*"))
    return {key: store.redis.dump(key) for key in found if b"clock" not in key}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_who_has_lost_the_turn_changes_nothing(
    store: JobStore, clock: Clock, step: Callable[[Turn], ScriptCall[Any]]
) -> None:
    created(store)
    slow = taken(store, "slow")
    store.run(batches.begin(slow, 2, [0, 0, 60, 2]))
    clock.advance(TURN_SECONDS + 0.5)
    quick = taken(store, "quick")
    before = all_of(store)
    assert store.run(step(slow)) in (False, None)
    assert all_of(store) == before
    assert store.run(step(quick)) not in (False, None)


def test_a_turn_lasts_for_as_long_as_its_steps_come(store: JobStore, clock: Clock) -> None:
    created(store)
    turn = taken(store, "mine")
    for _ in range(4):
        clock.advance(TURN_SECONDS - 1)
        assert store.run(batches.take("another")) is None
        assert store.run(batches.hold(turn))
    assert store.run(batches.leave(turn, 2000))
    assert store.run(batches.take("another")) is None
    clock.advance(2.5)
    assert taken(store, "another").batch.id == turn.batch.id


def test_the_record_of_a_batch_that_is_over_goes_by_itself(
    store: JobStore, settings: Settings
) -> None:
    record = keys.keyed("batch", created(store))
    turn = taken(store, "mine")
    assert store.redis.pttl(record) == -1
    store.run(batches.begin(turn, 0, [0, 0]))
    store.run(batches.finalize(turn))
    assert store.run(batches.end(turn, {}))
    lasts = cast(int, store.redis.pttl(record))
    assert 0 < lasts <= settings.retention_seconds * 1000
    assert store.run(batches.take("another")) is None

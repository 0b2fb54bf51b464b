"""The slot gate: sync before jobs, first come first served, safe against cancels in any turn."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.host.call import slots as host_slots
from workers.host.call.slots import CallKind, Reservations, Slot, SlotGate


async def settle() -> None:
    """Lets every task that can run do so."""
    for _ in range(10):
        await asyncio.get_running_loop().run_in_executor(None, int)


def start(coroutine: Coroutine[Any, Any, Slot]) -> asyncio.Task[Slot]:
    return asyncio.get_running_loop().create_task(coroutine)


async def test_sync_goes_first_and_each_door_is_fair() -> None:
    gate, order = SlotGate(1), list[str]()
    held = await gate.acquire(CallKind.JOB)

    async def use(name: str, kind: CallKind) -> None:
        slot = await gate.acquire(kind)
        order.append(name)
        slot.release()

    kinds = [
        ("j1", CallKind.JOB),
        ("s1", CallKind.SYNC),
        ("j2", CallKind.JOB),
        ("s2", CallKind.SYNC),
    ]
    tasks = []
    for name, kind in kinds:
        tasks.append(asyncio.create_task(use(name, kind)))
        await settle()
    assert (gate.sync_waiting, gate.jobs_waiting) == (2, 2)
    held.release()
    held.release()  # a second release changes nothing
    await asyncio.gather(*tasks)
    assert order == ["s1", "s2", "j1", "j2"]
    assert gate.busy == 0


async def test_a_cancel_in_the_turn_of_the_grant_loses_no_slot() -> None:
    gate = SlotGate(1)
    held = await gate.acquire(CallKind.SYNC)
    waiter = start(gate.acquire(CallKind.SYNC))
    await settle()
    held.release()  # grants to the waiter, which has not run yet
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert gate.busy == 0
    assert (await gate.acquire(CallKind.JOB)) is not None


async def test_a_job_does_not_slip_past_those_who_wait() -> None:
    gate = SlotGate(1)
    held = await gate.acquire(CallKind.SYNC)
    first = start(gate.acquire(CallKind.SYNC))
    await settle()
    held.release()
    late = start(gate.acquire(CallKind.JOB))
    await settle()
    assert first.done()
    assert not late.done()
    first.result().release()
    (await late).release()


async def test_resizing_grants_more_or_waits_for_less() -> None:
    gate = SlotGate(1)
    slots = [await gate.acquire(CallKind.SYNC)]
    waiter = start(gate.acquire(CallKind.JOB))
    await settle()
    gate.resize(2)
    slots.append(await waiter)
    gate.resize(1)
    third = start(gate.acquire(CallKind.JOB))
    slots[0].release()
    await settle()
    assert not third.done()
    slots[1].release()
    (await third).release()
    assert gate.busy == 0


async def test_a_reservation_is_used_once_and_an_unused_one_goes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(host_slots, "UNUSED_SECONDS", 0.02)
    gate = SlotGate(1)
    reservations = Reservations(gate)
    token = await reservations.reserve(0)
    assert token
    assert await reservations.reserve(0) is None
    slot = reservations.take(token)
    assert slot
    assert reservations.take(token) is None
    slot.release()
    unused = await reservations.reserve(0)
    assert unused
    async with asyncio.timeout(5):
        (await gate.acquire(CallKind.SYNC)).release()  # comes when the reservation is too old
    assert reservations.take(unused) is None
    reservations.drop("unknown")


STEPS = st.lists(
    st.tuples(st.sampled_from(["sync", "job", "cancel", "release"]), st.integers(0, 9))
)


@given(st.integers(1, 3), STEPS)
def test_no_history_of_takes_cancels_and_releases_breaks_the_count(
    size: int, steps: list[tuple[str, int]]
) -> None:
    async def play() -> None:
        gate, tasks = SlotGate(size), list[asyncio.Task[Slot]]()
        for action, which in steps:
            if action in ("sync", "job"):
                tasks.append(start(gate.acquire(CallKind(action))))
            elif tasks:
                task = tasks.pop(which % len(tasks))
                if action == "cancel" and not task.done():
                    task.cancel()
                elif task.done():
                    task.result().release()
                else:
                    tasks.append(task)
            if which % 2:
                await settle()
        await settle()
        holders = sum(task.done() for task in tasks)
        assert gate.busy == holders == min(size, len(tasks))
        while tasks:
            await settle()
            done = next(task for task in tasks if task.done())
            tasks.remove(done)
            done.result().release()
        assert (gate.busy, gate.sync_waiting, gate.jobs_waiting) == (0, 0, 0)

    asyncio.run(play())

"""The gate in front of predict: `predict_concurrency` slots, sync calls before jobs, first come first served."""

import asyncio
import secrets
from collections import deque
from enum import Enum

UNUSED_SECONDS = 30.0  # s; a worker that took a slot and died must not hold it for ever


class CallKind(Enum):
    """How a call came in; the order is the precedence."""

    SYNC = "sync"
    JOB = "job"


class Slot:
    """The right to run one predict. `release` may be called any number of times."""

    def __init__(self, gate: "SlotGate") -> None:
        self._gate = gate
        self._held = True

    def release(self) -> None:
        if self._held:
            self._held = False
            self._gate.give_back()


Waiter = asyncio.Future[Slot]


class SlotGate:
    """All slots of one host; used on the event loop only."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.busy = 0
        self._waiting: dict[CallKind, deque[Waiter]] = {kind: deque() for kind in CallKind}

    @property
    def sync_waiting(self) -> int:
        """How many sync calls wait for a slot now."""
        return len(self._waiting[CallKind.SYNC])

    @property
    def jobs_waiting(self) -> int:
        """How many jobs and reservations wait for a slot now."""
        return len(self._waiting[CallKind.JOB])

    def resize(self, size: int) -> None:
        """Takes effect at once for waiting calls, and as slots come back when there are fewer now."""
        self.size = size
        self._hand_over()

    async def acquire(self, kind: CallKind) -> Slot:
        """Waits for a slot. Cancelling the wait leaves the order of the others as it was."""
        if self.busy < self.size and not self._anyone_waits():
            self.busy += 1
            return Slot(self)
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiting[kind].append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            self._withdraw(kind, waiter)
            raise

    def give_back(self) -> None:
        """For Slot.release: frees one slot and hands it to the next in line."""
        self.busy -= 1
        self._hand_over()

    def _withdraw(self, kind: CallKind, waiter: Waiter) -> None:
        if waiter.done() and not waiter.cancelled():
            waiter.result().release()  # the slot arrived in the same turn as the cancel
        elif waiter in self._waiting[kind]:
            self._waiting[kind].remove(waiter)

    def _anyone_waits(self) -> bool:
        return any(self._waiting.values())

    def _hand_over(self) -> None:
        while self.busy < self.size and (waiter := self._next()):
            self.busy += 1
            waiter.set_result(Slot(self))

    def _next(self) -> Waiter | None:
        for waiting in self._waiting.values():
            while waiting:
                waiter = waiting.popleft()
                if not waiter.done():
                    return waiter
        return None


class Reservations:
    """Slots that the worker took ahead of its job, by token; an unused one goes back after 30 s."""

    def __init__(self, gate: SlotGate) -> None:
        self._gate = gate
        self._held: dict[str, tuple[Slot, asyncio.TimerHandle]] = {}

    async def reserve(self, wait_seconds: float) -> str | None:
        """A token once a slot is free and no sync call waits; None when none came in time."""
        try:
            async with asyncio.timeout(wait_seconds):
                slot = await self._gate.acquire(CallKind.JOB)
        except TimeoutError:
            return None
        token = secrets.token_hex(8)
        self.keep(token, slot)
        return token

    def keep(self, token: str, slot: Slot) -> None:
        """Holds the slot under this token until it is taken, dropped or too old."""
        timer = asyncio.get_running_loop().call_later(UNUSED_SECONDS, self.drop, token)
        self._held[token] = (slot, timer)

    def take(self, token: str) -> Slot | None:
        """The slot, now the caller's; None for a token that is unknown, used or too old."""
        held = self._held.pop(token, None)
        if held is None:
            return None
        slot, timer = held
        timer.cancel()
        return slot

    def drop(self, token: str) -> None:
        """Gives the slot back; an unknown token is fine."""
        slot = self.take(token)
        if slot:
            slot.release()

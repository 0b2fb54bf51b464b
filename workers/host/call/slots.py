"""The slots of predict: `predict_concurrency` calls at once, sync calls before jobs, else in order of arrival."""

import asyncio
import secrets
from collections import deque
from enum import Enum

# s; then a reserved slot is freed, because the worker that reserved it may have died
UNUSED_SECONDS = 30.0


class CallKind(Enum):
    """The kind of a call. The order of the members is their precedence."""

    SYNC = "sync"
    JOB = "job"


class Slot:
    """The right to run one predict. Repeated calls of `release` do nothing."""

    def __init__(self, gate: "SlotGate") -> None:
        self._gate = gate
        self._held = True

    def release(self) -> None:
        if self._held:
            self._held = False
            self._gate.give_back()


Waiter = asyncio.Future[Slot]


class SlotGate:
    """All slots of one host. Only the event loop uses them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.busy = 0
        self._waiting: dict[CallKind, deque[Waiter]] = {kind: deque() for kind in CallKind}

    @property
    def sync_waiting(self) -> int:
        """The number of sync calls that wait for a slot."""
        return len(self._waiting[CallKind.SYNC])

    @property
    def jobs_waiting(self) -> int:
        """The number of jobs and reservations that wait for a slot."""
        return len(self._waiting[CallKind.JOB])

    def resize(self, size: int) -> None:
        """Changes the number of slots: at once if there are more, else as slots are released."""
        self.size = size
        self._hand_over()

    async def acquire(self, kind: CallKind) -> Slot:
        """Waits for a slot. A cancelled wait does not change the order of the others."""
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
        """Frees a slot and gives it to the next waiting call. Slot.release calls it."""
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
    """Slots that the worker reserved before it claimed a job, by token. An unused one is released after 30 s."""

    def __init__(self, gate: SlotGate) -> None:
        self._gate = gate
        self._held: dict[str, tuple[Slot, asyncio.TimerHandle]] = {}

    async def reserve(self, wait_seconds: float) -> str | None:
        """A token for a slot, once one is free and no sync call waits. None if that does not happen in time."""
        try:
            async with asyncio.timeout(wait_seconds):
                slot = await self._gate.acquire(CallKind.JOB)
        except TimeoutError:
            return None
        token = secrets.token_hex(8)
        self.keep(token, slot)
        return token

    def keep(self, token: str, slot: Slot) -> None:
        """Keeps the slot under this token until it is taken, dropped or too old."""
        timer = asyncio.get_running_loop().call_later(UNUSED_SECONDS, self.drop, token)
        self._held[token] = (slot, timer)

    def take(self, token: str) -> Slot | None:
        """Takes the slot of this token. None if the token is unknown, used or too old."""
        held = self._held.pop(token, None)
        if held is None:
            return None
        slot, timer = held
        timer.cancel()
        return slot

    def drop(self, token: str) -> None:
        """Releases the slot of this token. An unknown token is ignored."""
        slot = self.take(token)
        if slot:
            slot.release()

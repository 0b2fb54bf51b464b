"""Bulk operations in small steps: a call works for some seconds, and the store keeps how far the operation has come.

So a client can go on with it after a pause or a crash.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from time import monotonic

from api.gateway import Gateway
from api.problems import Problem
from tasks.steering import verbs as steering
from tasks.steering.verbs import Progress

SECONDS = 10.0  # of work in one call; a client goes on by a call with the same `operation`
REST = 2.0  # pause after a step, in which the store serves others, as a multiple of the step's time
LONGEST_REST = 0.05  # s, of one pause


async def begin(gateway: Gateway, key_id: str, operation: str, asked: str) -> str:
    """Begins an operation of that key, or finds it. Returns its name in the store.

    `asked` says all that it is to do. Raises Problem 409 if it began with something else.
    """
    name = f"{key_id}:{operation}"
    digest = hashlib.sha256(asked.encode(errors="backslashreplace")).hexdigest()
    keep_ms = int(gateway.settings.idempotency_seconds * 1000)
    if not await gateway.store.run(steering.open_operation(name, digest, keep_ms)):
        message = f"The operation {operation} was begun with another body; choose another name."
        raise Problem(409, "client_error", message)
    return name


async def go_on(step: Callable[[], Awaitable[Progress]]) -> Progress:
    """Does steps until the operation has ended, for SECONDS at most. Returns how far it has come. Raises what a step raises."""
    ends = monotonic() + SECONDS
    while True:
        began = monotonic()
        progress = await step()
        if progress.ended or monotonic() > ends:
            return progress
        await asyncio.sleep(min(REST * (monotonic() - began), LONGEST_REST))

"""The machine that this process runs on: the id of its boot, and a clock that cannot be set.

The store has no such clock. Our processes tell it this time: see tasks/store/scripts/tick.lua.
"""

import socket
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tasks.process.logs import get_logger
from tasks.store import verbs
from tasks.store.job_store import AsyncJobStore

log = get_logger("machine")

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Linux has a clock that also counts the time of a suspend.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@cache
def machine() -> str:
    """The id of the running kernel's boot. Containers of one machine share it, and Unix sockets in shared folders work between them."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return socket.gethostname()


def since_boot_ms() -> int:
    """The milliseconds since that boot."""
    return int(time.clock_gettime(_CLOCK) * 1000)


async def tell_time(store: AsyncJobStore, since_boot_ms: Callable[[], int] = since_boot_ms) -> None:
    """Tells the store this machine's time, so that its clock of leases counts a long pause of all processes. Raises StoreUnavailable."""
    forward = await store.run(verbs.tick(machine(), since_boot_ms()))
    if forward:
        log.warning("clock.put_forward", seconds=forward / 1000)

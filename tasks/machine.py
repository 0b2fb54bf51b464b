"""The machine that this process runs on: its name for this boot, and a clock that nobody can set.

The store has no such clock, so it is told this one's time: see tasks/store/scripts/tick.lua.
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
_CLOCK = getattr(
    time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC
)  # Linux has one that counts a suspend, too


@cache
def machine() -> str:
    """The running kernel: containers of one machine share it, and its Unix sockets where they share a folder."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return socket.gethostname()


def since_boot_ms() -> int:
    """Milliseconds since that boot."""
    return int(time.clock_gettime(_CLOCK) * 1000)


async def tell_time(store: AsyncJobStore, since_boot_ms: Callable[[], int] = since_boot_ms) -> None:
    """Lets the store's clock of leases and due times count a long time in which nothing ran. Raises StoreUnavailable."""
    forward = await store.run(verbs.tick(machine(), since_boot_ms()))
    if forward:
        log.warning("clock.put_forward", seconds=forward / 1000)

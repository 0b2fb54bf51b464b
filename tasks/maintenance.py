"""The maintenance process: the sweeper and the webhook sender in one event loop."""

import asyncio
import signal
import time

from tasks import logs
from tasks.loops import run_forever
from tasks.settings import Settings
from tasks.store import AsyncJobStore
from tasks.sweeper import Sweeper
from tasks.webhooks.sender import Sender


def run(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT."""
    logs.configure(settings)
    asyncio.run(_main(settings))


async def _main(settings: Settings) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    store = AsyncJobStore(settings)
    sweeper = Sweeper(store, settings, time.monotonic)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(run_forever(sweeper, settings.sweep_every_seconds, stop))
            group.create_task(Sender(store, settings).run_forever(stop))
    finally:
        await store.close()

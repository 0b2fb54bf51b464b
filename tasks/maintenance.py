"""The maintenance process: loops that look after the store, all in one event loop.

They are the sweeper, the payload collector, the collector of purged log lines, the webhook sender, and those of other packages, such
as the autoscaler.
"""

import asyncio
import signal
import time
from collections.abc import Callable, Mapping

from tasks.log_store.purging import PurgedLines
from tasks.log_store.shipper import LogShipper
from tasks.payload_collector import PayloadCollector
from tasks.process import logs, tracing
from tasks.process.loops import Guard, Loop, keep, run_forever
from tasks.settings import Settings
from tasks.store.job_store import AsyncJobStore
from tasks.sweeper import Sweeper
from tasks.webhooks.sender import Sender

MoreLoops = Callable[[AsyncJobStore], Mapping[Loop, float]]  # with the seconds between rounds


def run(settings: Settings, more: MoreLoops) -> None:
    """Runs until SIGTERM or SIGINT. `more` makes the loops of other packages."""
    logs.configure(settings)
    tracing.set_up("maintenance")
    shipper = LogShipper(settings)
    shipper.start()
    try:
        asyncio.run(_main(settings, more))
    finally:
        shipper.stop()
        tracing.stop()


async def _main(settings: Settings, more: MoreLoops) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    store = AsyncJobStore(settings)
    sweeper = Sweeper(store, settings, time.monotonic)
    with Guard("Libraries").round():
        await store.drop_libraries()
    try:
        async with asyncio.TaskGroup() as group:
            for loop in (sweeper, PayloadCollector(store, settings), PurgedLines(store)):
                group.create_task(run_forever(loop, settings.sweep_every_seconds, stop))
            group.create_task(keep("Sender", lambda: Sender(store, settings).run_forever(stop)))
            for loop, every in more(store).items():
                group.create_task(run_forever(loop, every, stop))
    finally:
        await store.close()

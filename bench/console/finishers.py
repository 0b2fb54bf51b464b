"""Light workers without models: `python -m bench.console.finishers REDIS_URL DEPLOYMENT MODEL REPLICA RATE`.

They claim and finish so many jobs a second by the store's verbs, and queue as many, until they are ended. For each line on stdin they print
how many they have finished so far.
"""

import asyncio
import contextlib
import itertools
import signal
import sys
import uuid
from time import monotonic

import uvloop

from tasks.job import Outcome, RequestId, Submission
from tasks.settings import Settings
from tasks.state import Status
from tasks.store import verbs
from tasks.store.job_store import AsyncJobStore

EVERY = 0.02  # s
KEY = "benches1"
DONE = Outcome(Status.SUCCEEDED, 2.0, b"{}", "application/json", output_bytes=2)
FENCES = itertools.count()


class Finishers:
    """Claims, finishes and queues; `finished` counts."""

    def __init__(self, store: AsyncJobStore, deployment: str, model: str, replica: str) -> None:
        self._store, self._deployment, self._model = store, deployment, model
        self._replica, self.finished = replica, 0

    async def run(self, rate: float) -> None:
        """Until it is cancelled. What is late is done at once."""
        began, due = monotonic(), 0.0
        while True:
            due += rate * EVERY
            count = int(due - self.finished)
            jobs = [self._submission() for _ in range(count)]
            if jobs:
                await asyncio.gather(*[self._finish_next() for _ in jobs])
                await self._store.run(verbs.submit(jobs, KEY, 10_000_000))
            self.finished += count
            await asyncio.sleep(max(began + due / rate - monotonic(), 0))

    def _submission(self) -> Submission:
        request_id = RequestId(uuid.uuid4().hex)
        return Submission(request_id, self._deployment, self._model, b"{}", max_time_in_queue_ms=3_600_000)  # fmt: skip

    async def _finish_next(self) -> None:
        fence = f"worker0000000001{next(FENCES):016d}"
        claim = await self._store.run(
            verbs.claim(self._deployment, f"{self._replica}:0", fence, self._replica)
        )
        if claim is None:
            raise RuntimeError("The queue is empty.")
        await self._store.run(verbs.finish(claim.lease, DONE))


async def tell(finishers: Finishers) -> None:
    """Answers each line with the number so far."""
    lines = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(lines)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while await lines.readline():
        print(finishers.finished, flush=True)


async def main(url: str, deployment: str, model: str, replica: str, rate: float) -> None:
    """Runs until SIGTERM."""
    store = AsyncJobStore(Settings.model_validate({"redis_url": url}))
    finishers, ended = Finishers(store, deployment, model, replica), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    work = asyncio.create_task(finishers.run(rate))
    told, stop = asyncio.create_task(tell(finishers)), asyncio.create_task(ended.wait())
    await asyncio.wait([work, told, stop], return_when=asyncio.FIRST_COMPLETED)
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work  # raises what went wrong
    await store.close()


if __name__ == "__main__":
    redis_url, its_deployment, its_model, its_replica, a_second = sys.argv[1:]
    uvloop.run(main(redis_url, its_deployment, its_model, its_replica, float(a_second)))

"""Goes on with batches, a turn at a time. A loop of maintenance; any number of processes may run it.

A turn reads the file of a new batch, or writes the parts whose jobs are all final and queues the lines of the next ones. A process that
dies in the middle loses its turn: after some seconds another one does the same step again, and that changes nothing but what is missing.
"""

import asyncio
import contextlib
import secrets

from deployments.batches.checking import Checker
from deployments.batches.lines import Line, jobs_of, lines_in
from deployments.batches.parts import PartWriter
from deployments.batches.sending import Sender
from tasks.access import keys
from tasks.api_keys import ApiKey
from tasks.batches import verbs
from tasks.batches.verbs import PART_LINES, Batch, BatchEnded, Turn
from tasks.errors import NotFound
from tasks.payloads import Payloads
from tasks.process.logs import get_logger
from tasks.process.loops import Guard
from tasks.settings import Settings
from tasks.store.job_store import AsyncJobStore

log = get_logger("batches")

EVERY_SECONDS = 1.0  # between two looks for batches that are due
HOLD_EVERY = 1.5  # s, between signs of life in a long turn
AGAIN_MS = 1000  # until the next turn at a batch in which nothing could be done
MOST_TURNS = 100  # in one round of the loop
STEPS = 20  # parts that a turn queues, or writes off, at most
GONE = {"code": "file_gone", "message": "The input file is gone.", "line": None, "param": None}


class BatchRunner:
    """Goes on with batches. Methods raise StoreUnavailable and PayloadUnavailable."""

    def __init__(self, store: AsyncJobStore, settings: Settings) -> None:
        self._store = store
        self._payloads = Payloads(settings)
        self._sender = Sender(store, self._payloads, settings)
        self._writer = PartWriter(store, self._payloads)
        self._settings = settings
        self._guard = Guard("a turn at a batch")

    async def run_once(self) -> int:
        """Takes turns until no batch is due. Returns their number."""
        for count in range(MOST_TURNS):
            turn = await self._store.run(verbs.take(secrets.token_hex(8)))
            if turn is None:
                return count
            await self._take(turn)
        return MOST_TURNS

    async def _take(self, turn: Turn) -> None:
        holding = asyncio.create_task(self._hold(turn))
        went_on = False
        try:
            with self._guard.part():
                try:
                    went_on = await self._go_on(turn)
                except (
                    NotFound
                ):  # somebody has deleted the payload of the file, which the batch holds
                    await self._store.run(verbs.refuse(turn, [GONE]))
        finally:
            holding.cancel()
        await self._store.run(verbs.leave(turn, 0 if went_on else AGAIN_MS))

    async def _hold(self, turn: Turn) -> None:
        while True:
            await asyncio.sleep(HOLD_EVERY)
            with self._guard.round():
                await self._store.run(verbs.hold(turn))

    async def _go_on(self, turn: Turn) -> bool:
        """Does what can be done now. False if that was nothing."""
        batch = turn.batch
        if not batch.starts and not batch.ending:
            await self._check(turn)
            return True
        key = await self._store.run(keys.find(batch.api_key))
        if key is None or key.revoked:
            with contextlib.suppress(NotFound, BatchEnded):
                await self._store.run(verbs.cancel(batch.id, ""))
            if not batch.ending:
                return True
        if batch.ending:
            await self._write_off(turn)
            return True
        assert key, "a batch without a key is ending"
        wrote = await self._write(turn, key)
        sent = await self._send(turn, key, len(turn.sent) - wrote)
        if batch.next + sent == batch.parts and wrote == len(turn.sent) and not sent:
            await self._end(turn)
            return True
        return bool(wrote or sent)

    async def _check(self, turn: Turn) -> None:
        """Reads the file for the first time."""
        batch = turn.batch
        checker = Checker(batch.endpoint, self._settings.max_batch_lines)
        found = await checker.read(await self._payloads.read_async(batch.ref))
        if found.mistakes:
            await self._store.run(verbs.refuse(turn, found.mistakes))
            log.info("batch.refused", batch=batch.id, mistakes=len(found.mistakes))
        else:
            await self._store.run(verbs.begin(turn, found.total, found.starts))
            log.info("batch.began", batch=batch.id, lines=found.total)

    async def _write(self, turn: Turn, key: ApiKey) -> int:
        """Writes the parts whose jobs are all final. Returns their number."""
        written = 0
        for part in sorted(turn.sent):
            if "left" not in await self._store.run(verbs.left(jobs_of(turn.batch, part))):
                await self._write_part(turn, part, key)
                written += 1
        return written

    async def _send(self, turn: Turn, key: ApiKey, in_flight: int) -> int:
        """Queues the lines of the next parts, as many as may be on their way. Returns the number of parts."""
        batch, most = turn.batch, max(self._settings.batch_lines_in_flight // PART_LINES, 1)
        last = min(batch.next + max(most - in_flight, 0), batch.next + STEPS, batch.parts)
        for part in range(batch.next, last):
            if not await self._sender.send(turn, key, await self._lines(batch, part)):
                return part - batch.next
            await self._store.run(verbs.sent(turn, part))
        return max(last - batch.next, 0)

    async def _write_off(self, turn: Turn) -> None:
        """Cancels what is on its way, and writes what there is: of a batch that was cancelled, or whose window is over."""
        batch = turn.batch
        last = min(batch.next + STEPS, batch.parts)
        # The next part may have been queued half.
        for part in (*sorted(turn.sent), *range(batch.next, last)):
            await self._store.run(verbs.stop(jobs_of(batch, part)))
            await self._write_part(turn, part, None)
        if last == batch.parts:
            await self._end(turn)

    async def _write_part(self, turn: Turn, part: int, key: ApiKey | None) -> None:
        batch, jobs = turn.batch, jobs_of(turn.batch, part)
        lines = await self._lines(batch, part)
        found = await self._store.run(verbs.results(jobs))
        why_not: dict[int, str] = {}
        for line, result in zip(lines, found, strict=True):
            if key and not result.status:
                why_not[line.number] = await self._sender.why_not(turn, key, line)
        counts, sizes = await self._writer.write(batch, part, lines, found, why_not)
        await self._store.run(verbs.wrote(turn, part, counts, sizes, jobs))

    async def _end(self, turn: Turn) -> None:
        sizes = await self._store.run(verbs.finalize(turn))
        if sizes is None:
            return
        files = await self._writer.join(turn.batch, sizes)
        if await self._store.run(verbs.end(turn, files)):
            await self._writer.drop(turn.batch)
            log.info("batch.ended", batch=turn.batch.id, ending=turn.batch.ending or "completed")

    async def _lines(self, batch: Batch, part: int) -> list[Line]:
        """The lines of a part. Raises NotFound if the file is gone, which the batch holds."""
        start, first, end = batch.starts[2 * part : 2 * part + 3]
        end = min(end, batch.size)  # the last line needs no line break
        pieces = [piece async for piece in await self._payloads.read_part(batch.ref, start, end)]
        parse = lambda: list(lines_in(b"".join(pieces), first, batch.endpoint))  # noqa: E731
        return await asyncio.to_thread(parse)

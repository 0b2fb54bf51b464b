"""Writes the results of a part of a batch as payloads, and joins those of all parts at the end."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence

from deployments.batches import results
from deployments.batches.lines import Line
from tasks.batches.verbs import Batch, LineResult
from tasks.files.files import file_ref
from tasks.payloads import INPUT_MS, Payloads, PayloadWriter
from tasks.store.job_store import AsyncJobStore
from tasks.store.verbs import spill

KINDS = ("output", "error")
HELD = 1 << 20  # bytes of results that are written at once
KEPT_MS = (
    7 * 24 * 3_600_000
)  # after which a part is garbage at the latest; a batch lasts 72 hours at most


def part_ref(batch_id: str, part: int, kind: str) -> str:
    """The payload of a part's results, or errors."""
    return f"batches/{batch_id}/{part}.{kind}"


class _Lines:
    """Lines that become a payload; none without lines."""

    def __init__(self, files: Payloads, ref: str) -> None:
        self._payloads, self._ref = files, ref
        self._writer: PayloadWriter | None = None
        self._held: list[bytes] = []
        self._bytes = 0  # that are held
        self.size = self.count = 0

    async def add(self, line: bytes) -> None:
        """Appends a line."""
        self._held.append(line)
        self._bytes += len(line)
        self.size += len(line)
        self.count += 1
        if self._bytes >= HELD:
            await self._flush()

    async def close(self) -> None:
        """Completes the payload."""
        if self._held:
            await self._flush()
        if self._writer:
            await asyncio.to_thread(self._writer.close)

    async def _flush(self) -> None:
        writer = self._writer = self._writer or self._payloads.writer(self._ref)
        await asyncio.to_thread(writer.write, b"".join(self._held))
        self._held, self._bytes = [], 0


class PartWriter:
    """Writes parts. Methods raise StoreUnavailable and PayloadUnavailable."""

    def __init__(self, store: AsyncJobStore, files: Payloads) -> None:
        self._store, self._payloads = store, files

    async def write(
        self,
        batch: Batch,
        part: int,
        lines: Sequence[Line],
        found: Sequence[LineResult],
        why_not: Mapping[int, str],
    ) -> tuple[tuple[int, int, int], tuple[int, int]]:
        """Writes what became of the lines: how many succeeded, failed and were cut off, and the bytes of results and of errors."""
        refs = [part_ref(batch.id, part, kind) for kind in KINDS]
        await self._store.run(spill(refs, KEPT_MS))
        good, bad = (_Lines(self._payloads, ref) for ref in refs)
        cut_off = 0
        for line, result in zip(lines, found, strict=True):
            error = results.error_of(batch, line, result, why_not.get(line.number, ""))
            cut_off += results.is_cut_off(error)
            text, succeeded = await self._line(batch, line, result, error)
            await (good if succeeded else bad).add(text)
        await good.close()
        await bad.close()
        return (good.count, bad.count, cut_off), (good.size, bad.size)

    async def _line(
        self, batch: Batch, line: Line, result: LineResult, error: results.Said | None
    ) -> tuple[bytes, bool]:
        output = None if error else await results.output_of(result, self._payloads)
        if output is None:
            return results.failed(batch, line, error or results.GONE), False
        if len(output) < HELD:
            return results.written(batch, line, result.content_type, output)
        return await asyncio.to_thread(results.written, batch, line, result.content_type, output)

    async def join(
        self, batch: Batch, sizes: Mapping[int, tuple[int, int]]
    ) -> Mapping[str, tuple[str, str, int]]:
        """Joins all parts: for 'output' and 'error' the file, its payload and its bytes, if there is one."""
        files: dict[str, tuple[str, str, int]] = {}
        for place, kind in enumerate(KINDS):
            size = sum(of_part[place] for of_part in sizes.values())
            if size:
                file_id = hashlib.sha256(f"{batch.id} {kind}".encode()).hexdigest()[:32]
                parts = [part for part in sorted(sizes) if sizes[part][place]]
                await self._join(batch, kind, parts, file_ref(file_id))
                files[kind] = file_id, file_ref(file_id), size
        return files

    async def _join(self, batch: Batch, kind: str, parts: Sequence[int], ref: str) -> None:
        await self._store.run(spill([ref], INPUT_MS))
        writer = self._payloads.writer(ref)
        for part in parts:
            async for piece in await self._payloads.read_async(part_ref(batch.id, part, kind)):
                await asyncio.to_thread(writer.write, piece)
        await asyncio.to_thread(writer.close)

    async def drop(self, batch: Batch) -> None:
        """Lets the collector delete the payloads of all parts."""
        for part in range(0, batch.parts, 100):
            some = range(part, min(part + 100, batch.parts))
            refs = [part_ref(batch.id, number, kind) for number in some for kind in KINDS]
            await self._store.run(spill(refs, 0))

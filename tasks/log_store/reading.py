"""Reads the logs of several deployments as one, in the order in which their lines came."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.log_store import verbs
from tasks.log_store.verbs import LineFilter, LineId, LogPart, StoredLine
from tasks.store.job_store import AsyncJobStore

# Lines that one reading looks at, over all deployments: some tens of milliseconds of the store.
LOOKED_AT = 20_000
LEAST_LOOKED_AT = 200  # lines of a single deployment, however many there are
AT_ONCE = 50  # deployments that are read at the same time


@dataclass(frozen=True)
class LogPage:
    """Lines, the oldest first. `before` is the cursor of the page with earlier ones; None at the beginning of the logs."""

    lines: list[StoredLine]
    before: LineId | None


@dataclass(frozen=True)
class News:
    """Lines that came, the oldest first, and the place up to which all are known."""

    lines: list[StoredLine]
    place: LineId


async def newest(
    store: AsyncJobStore,
    deployments: Sequence[str],
    wanted: LineFilter,
    most: int,
    upto: LineId | None = None,
    before: LineId | None = None,
) -> LogPage:
    """The latest lines, up to a place or before one. A page may have fewer than `most`, or none, although there are earlier ones."""
    begin = str(upto) if upto else f"({before}" if before else "+"
    end = str(wanted.since) if wanted.since else "-"
    parts = await _read(store, deployments, "newest", begin, end, most, wanted)
    floor = max((part.beyond for part in parts if part.beyond), default=None)
    lines = sorted((line for part in parts for line in part.lines), key=lambda line: line.id)
    known = [line for line in lines if floor is None or line.id >= floor]
    if len(known) > most:
        return LogPage(known[-most:], known[-most].id)
    return LogPage(known, floor)


async def after(
    store: AsyncJobStore,
    deployments: Sequence[str],
    wanted: LineFilter,
    most: int,
    place: LineId,
    end: LineId,
) -> News:
    """The lines beyond `place`, up to `end`, which a caller has from `verbs.logged`."""
    parts = await _read(store, deployments, "oldest", f"({place}", str(end), most, wanted)
    ceiling = min((part.beyond for part in parts if part.beyond), default=end)
    lines = sorted((line for part in parts for line in part.lines), key=lambda line: line.id)
    known = [line for line in lines if line.id <= ceiling]
    if len(known) > most:
        return News(known[:most], known[most - 1].id)
    return News(known, ceiling)


async def _read(
    store: AsyncJobStore,
    deployments: Sequence[str],
    order: verbs.Order,
    begin: str,
    end: str,
    most: int,
    wanted: LineFilter,
) -> list[LogPart]:
    looked_at = max(LOOKED_AT // max(len(deployments), 1), LEAST_LOOKED_AT)
    parts: list[LogPart] = []
    for start in range(0, len(deployments), AT_ONCE):
        calls = [
            store.run(verbs.read_log(each, order, begin, end, most, looked_at, wanted))
            for each in deployments[start : start + AT_ONCE]
        ]
        parts += await asyncio.gather(*calls)
    return parts

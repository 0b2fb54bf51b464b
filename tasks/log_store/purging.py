"""Deletes the log lines of purged requests, some at a time."""

from dataclasses import dataclass

from tasks.job import Milliseconds
from tasks.log_store import verbs
from tasks.log_store.verbs import LineId
from tasks.store.job_store import AsyncJobStore

# ms after a purge in which the last lines of the request still come: a quarter of a second, or the next try of its process.
SETTLED = 5000
LOOKED_AT = 500  # lines in one script: about a millisecond
SCRIPTS = 40  # in one round


@dataclass
class _Pass:
    """One pass over the logs of all deployments, for the requests that were purged until `upto`."""

    upto: Milliseconds
    deployments: list[str]
    beyond: LineId | None = None


class PurgedLines:
    """Deletes the lines of all purged requests. Several processes may do so at once."""

    def __init__(self, store: AsyncJobStore, settled: Milliseconds = SETTLED) -> None:
        self._store, self._settled = store, settled
        self._pass: _Pass | None = None

    async def run_once(self) -> int:
        """One round. Returns how many lines it deleted. Raises StoreUnavailable."""
        gone = 0
        for _ in range(SCRIPTS):
            self._pass = self._pass or await self._begin()
            if self._pass is None:
                break
            gone += await self._step(self._pass)
        return gone

    async def _begin(self) -> _Pass | None:
        found = await self._store.run(verbs.purged(self._settled))
        return _Pass(found.upto, found.deployments) if found.count else None

    async def _step(self, at: _Pass) -> int:
        if not at.deployments:
            await self._store.run(verbs.forget_purged(at.upto))
            self._pass = None
            return 0
        call = verbs.forget_lines(at.deployments[-1], at.beyond, LOOKED_AT)
        gone, at.beyond = await self._store.run(call)
        if at.beyond is None:
            at.deployments.pop()
        return gone

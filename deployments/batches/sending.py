"""Queues the lines of a part of a batch."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from deployments.batches.lines import Line, job_id
from deployments.registry.records import Deployment
from deployments.registry.resolver import Resolver, Target
from priority.order import LEVELS
from tasks import payloads
from tasks.api_keys import ApiKey
from tasks.batches import verbs as batches
from tasks.batches.verbs import Turn
from tasks.errors import KeyFull, NotFound, QueueFull
from tasks.job import Submission
from tasks.outside_text import utf8
from tasks.payloads import Payloads
from tasks.settings import Settings
from tasks.store import verbs
from tasks.store.job_store import AsyncJobStore

PRODUCTION = "production"
NO_ACCESS = "This key is restricted to other models or environments."
SHORTEST_WAIT_MS = 1000  # for a line whose batch has less time left
Resolve = Callable[[Line], Awaitable[Deployment | str]]


@dataclass(frozen=True)
class Ready:
    """The jobs of the good lines of a part, and why the others cannot run, by their numbers."""

    jobs: Sequence[Submission]
    wrong: dict[int, str]


class Sender:
    """Makes jobs of lines."""

    def __init__(self, store: AsyncJobStore, files: Payloads, settings: Settings) -> None:
        self._store, self._payloads, self._settings = store, files, settings
        self._resolver = Resolver(store)

    async def send(self, turn: Turn, key: ApiKey, lines: Sequence[Line]) -> bool:
        """Queues the lines. False if not all fit into the queue, or into what the key may have unfinished; then some may be queued."""
        jobs: list[Submission] = []
        for line in lines:
            if not line.wrong and not isinstance(job := await self._job(turn, key, line), str):
                jobs.append(job)
        groups: dict[str, list[Submission]] = {}
        for job in jobs:
            groups.setdefault(job.deployment_id, []).append(job)
        for group in groups.values():
            try:
                await self._submit(key, group)
            except (QueueFull, KeyFull):
                return await self._submit_singly(key, jobs)
        return True

    async def why_not(self, turn: Turn, key: ApiKey, line: Line) -> str:
        """Why a line has no job; '' if it should have one."""
        job = line.wrong or await self._job(turn, key, line)
        return job if isinstance(job, str) else ""

    async def _submit_singly(self, key: ApiKey, jobs: Sequence[Submission]) -> bool:
        """Queues what is not queued yet, as long as there is room. False if something is left."""
        stand = await self._store.run(batches.left([job.request_id for job in jobs]))
        try:
            for job, word in zip(jobs, stand, strict=True):
                if word == "missing":
                    await self._submit(key, [job])
        except (QueueFull, KeyFull):
            return False
        return True

    async def _submit(self, key: ApiKey, jobs: Sequence[Submission]) -> None:
        large = [job.input_ref for job in jobs if job.input_ref]
        if large:
            await self._store.run(verbs.spill(large, payloads.INPUT_MS))
        for job in jobs:
            if job.input_ref:
                await self._payloads.write(job.input_ref, job.input)
        most = key.limits.over(self._settings).max_unfinished or 0
        call = verbs.submit(jobs, key.id, self._settings.max_queued, max_unfinished=most)
        await self._store.run(call)

    async def _job(self, turn: Turn, key: ApiKey, line: Line) -> Submission | str:
        """The job of a good line, or why it cannot have one."""
        batch = turn.batch
        try:
            named = await self._resolver.named(utf8(line.model))
            deployment = await self._resolver.resolve(named.reference, Target())
        except NotFound as error:
            return str(error)
        if not _allowed(key, deployment):
            return NO_ACCESS
        body = {**line.body, "model": named.heard} if named.heard else line.body
        job = Submission(
            request_id=job_id(batch.id, line.number),
            deployment_id=deployment.id,
            model_id=deployment.model_id,
            input=json.dumps(body).encode(),
            level=LEVELS[-1],
            max_time_in_queue_ms=max(turn.left_ms, SHORTEST_WAIT_MS),
            path=batch.endpoint,
        )
        if len(job.input) <= self._settings.spill_bytes:
            return job
        return replace(job, input_ref=payloads.input_ref(job.request_id))


def _allowed(key: ApiKey, deployment: Deployment) -> bool:
    mine = not key.models or {deployment.model_id, deployment.model_name} & set(key.models)
    return bool(mine) and (not key.environments or PRODUCTION in key.environments)

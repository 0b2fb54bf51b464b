"""Bulk operations on all requests that match a filter: cancel, retry, move, purge.

They run in small steps. The store keeps how far each has come, so a client can go on with it after a pause or a crash.
"""

import asyncio
import contextlib
import hashlib
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from typing import TypeVar

from fastapi import APIRouter, Request
from pydantic import TypeAdapter

from api import body as bodies
from api.audit import steered
from api.gateway import Gateway, authenticate, gateway_of, new_request_id
from api.observing import traced
from api.problems import Problem
from api.routes import stepping
from api.routes.jobs.listing import filter_of
from api.routes.jobs.retrying import check_deployment, submission, submit_again
from api.routes.jobs.schemas import BulkAnswer, BulkBody, MoveBody
from tasks.access.audit import Change
from tasks.api_keys import ApiKey
from tasks.job import Job, Submission
from tasks.state import FINAL, Status
from tasks.steering import verbs as steering
from tasks.steering.filters import JobFilter
from tasks.steering.verbs import Part, Progress

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
B = TypeVar("B", bound=BulkBody)
BULK: TypeAdapter[BulkBody] = TypeAdapter(BulkBody)
MOVE: TypeAdapter[MoveBody] = TypeAdapter(MoveBody)
SMALL_BODY = 65_536  # bytes
UNFINISHED = (Status.QUEUED, Status.IN_PROGRESS)


@router.post("/cancel", response_model=BulkAnswer)
async def cancel(request: Request) -> BulkAnswer:
    """Cancels all queued and running requests that match. If KINGPOST_CANCEL_RUNNING is off, only the queued ones."""
    gateway = gateway_of(request)
    cancel_running = gateway.settings.cancel_running

    async def step(name: str, wanted: JobFilter) -> Progress:
        return await gateway.store.run(steering.cancel_many(name, wanted, cancel_running))

    async with _steered(request, "cancel") as (key, change):
        body = await _body(request, BULK)
        possible = UNFINISHED if cancel_running else (Status.QUEUED,)
        return await Operation("cancel", possible, step).go_on(request, key, body, change)


@router.post("/move", response_model=BulkAnswer)
async def move(request: Request) -> BulkAnswer:
    """Moves all queued requests that match to another priority, to another deployment of the same model, or both."""
    gateway = gateway_of(request)

    async with _steered(request, "move") as (key, change):
        body = await _body(request, MOVE)
        to, max_queued = body.to_deployment or "", gateway.settings.max_queued
        if body.to_priority is None and not to:
            raise Problem(400, "client_error", "Say to_priority, to_deployment or both.")
        if to:
            found = await check_deployment(gateway, key, to)
            if body.model not in (None, found.model_id, found.model_name):
                raise Problem(400, "client_error", f"The deployment {to} is not of that model.")
            body = body.model_copy(update={"model": found.model_id})

        async def step(name: str, wanted: JobFilter) -> Progress:
            call = steering.move_many(name, wanted, body.to_priority, to, max_queued)
            return await gateway.store.run(call)

        return await Operation("move", (Status.QUEUED,), step).go_on(request, key, body, change)


@router.post("/purge", response_model=BulkAnswer)
async def purge(request: Request) -> BulkAnswer:
    """Deletes all requests that match with their inputs, outputs and events. Those that are not final are cancelled."""
    store = gateway_of(request).store

    async def step(name: str, wanted: JobFilter) -> Progress:
        return await store.run(steering.purge_many(name, wanted))

    async with _steered(request, "purge") as (key, change):
        body = await _body(request, BULK)
        return await Operation("purge", tuple(Status), step).go_on(request, key, body, change)


@router.post("/retry", response_model=BulkAnswer)
async def retry(request: Request) -> BulkAnswer:
    """Retries all final requests that match: their inputs are queued as new requests."""
    gateway = gateway_of(request)

    async with _steered(request, "retry") as (key, change):
        body = await _body(request, BULK)
        # A limit may refuse a submission. A step is then one job, so that the jobs before it are counted as done.
        limited = key.limits.submits_per_minute or key.limits.max_unfinished
        at_once = 1 if limited else steering.CHANGED  # jobs in a step

        async def step(name: str, wanted: JobFilter) -> Progress:
            part = await gateway.store.run(steering.next_part(name, wanted, at_once))
            done = await _retried(request, key, name, part)
            call = steering.advance(name, part, done, len(part.jobs) - done)
            return await gateway.store.run(call)

        return await Operation("retry", tuple(FINAL), step).go_on(request, key, body, change)


@contextlib.asynccontextmanager
async def _steered(request: Request, action: str) -> AsyncGenerator[tuple[ApiKey, Change]]:
    """The caller's key, and the change that goes to the audit log for an admin. Raises Problem 401 and 403."""
    key = await authenticate(request)
    async with steered(request, key, f"requests.{action}") as change:
        yield key, change


async def _body(request: Request, adapter: TypeAdapter[B]) -> B:
    return bodies.parse(adapter, await bodies.read(request, SMALL_BODY) or b"{}")


@dataclass(frozen=True)
class Operation:
    """A bulk operation on requests whose status is in `possible`.

    `step` does a bounded part of it. It takes the operation's name in the store, and the filter.
    """

    action: str
    possible: Collection[Status]
    step: Callable[[str, JobFilter], Awaitable[Progress]]

    async def go_on(
        self, request: Request, key: ApiKey, body: BulkBody, change: Change
    ) -> BulkAnswer:
        """Begins the operation that the body names, or goes on with it, for some seconds.

        Raises Problem 400, 403 and 409, NotFound, and what a step raises.
        """
        gateway, operation = gateway_of(request), body.operation or new_request_id()
        asked = body.model_dump_json(exclude={"operation"}, exclude_defaults=True)
        change.target, change.changes = f"operation={operation} {asked}", not body.dry_run
        wanted = await self._wanted(gateway, key, body)
        name = await stepping.begin(gateway, key.id, operation, self.action + asked)

        async def step() -> Progress:
            if body.dry_run:
                return await gateway.store.run(steering.tally(name, wanted))
            return await self.step(name, wanted)

        return BulkAnswer.of(operation, await stepping.go_on(step))

    async def _wanted(self, gateway: Gateway, key: ApiKey, body: BulkBody) -> JobFilter:
        """The filter of the body, for `possible` states only. Raises Problem 400, 403 and 409, and NotFound."""
        if not body.asks:
            raise Problem(400, "client_error", 'Say which requests, or "all": true.')
        named = body.status or self.possible
        statuses = tuple(status for status in self.possible if status in named)
        if not statuses:
            message = f"{self.action} is for requests that are {' or '.join(self.possible)}."
            raise Problem(409, "client_error", message)
        return replace(await filter_of(gateway, key, body), statuses=statuses)


async def _retried(request: Request, key: ApiKey, name: str, part: Part) -> int:
    """Retries the jobs of a part, and returns how many could be retried. Raises an AdmissionError.

    A new id follows from the operation and the old id. So a part that is retried twice makes no job twice.
    """
    prepared = await asyncio.gather(*(_again(request, key, name, job) for job in part.jobs))
    groups: dict[tuple[str, str], list[tuple[Job, Submission]]] = defaultdict(list)
    for job, again in zip(part.jobs, prepared, strict=True):
        if again:
            groups[job.api_key, job.deployment_id].append((job, again))
    for group in groups.values():
        retried = [again for _, again in group]
        await submit_again(gateway_of(request), key, group[0][0], retried)
    return sum(again is not None for again in prepared)


async def _again(request: Request, key: ApiKey, name: str, job: Job) -> Submission | None:
    """The same job under a new id. None if it cannot be retried."""
    gateway = gateway_of(request)
    new_id = hashlib.sha256(f"{name} {job.request_id}".encode()).hexdigest()[:32]
    try:
        await check_deployment(gateway, key, job.deployment_id)
        return traced.linked(request, job, await submission(gateway, job, new_id))
    except Problem:  # its input or its deployment is gone, or the key may not use it any more
        return None

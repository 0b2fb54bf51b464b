"""Lists and counts of jobs: a key's own, or everybody's for the scope admin."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request

from api.gateway import Caller, Gateway, gateway_of, owner_for
from api.problems import Problem
from api.routes.jobs.schemas import (
    CountQuery,
    JobCounts,
    JobPage,
    JobQuery,
    Limit,
    ListedJob,
    ListedRequest,
    ModelName,
    OldCursor,
    PagedQuery,
    RequestPage,
)
from deployments.registry import verbs as registry
from deployments.registry.pages import all_deployments
from deployments.registry.records import Model, no_model
from tasks.api_keys import ApiKey, sees_model_errors
from tasks.errors import NotFound
from tasks.job import Job
from tasks.state import Status
from tasks.steering import verbs as steering
from tasks.steering.filters import JobFilter, Place, Turn
from tasks.steering.verbs import At, Found
from tasks.store.verbs import ScriptCall

router = APIRouter(tags=["jobs"])
MODEL_ID = re.compile(r"[0-9a-z]{8}")
MOST_STEPS = 20  # scripts of one call; a client goes on with the cursor


@router.get("/async_requests", response_model=RequestPage)
async def listed(
    request: Request,
    key: Caller,
    status: Status | None = None,
    model: ModelName | None = None,
    limit: Limit = 100,
    cursor: OldCursor | None = None,
) -> RequestPage:
    """The caller's own requests, newest first."""
    query = JobQuery(model=model, status=[status] if status else [], key=key.id)
    wanted = await filter_of(gateway_of(request), key, query)
    jobs, cursor = await _page(gateway_of(request), wanted, cursor, limit)
    return RequestPage(requests=[ListedRequest.of(job) for job in jobs], cursor=cursor)


@router.get("/v1/jobs", response_model=JobPage)
async def jobs(request: Request, key: Caller, query: Annotated[PagedQuery, Query()]) -> JobPage:
    """The requests that match, newest first, or next first with `order=next`: the caller's own, or those of all keys for the scope admin."""
    gateway = gateway_of(request)
    wanted = await filter_of(gateway, key, query)
    page = _upcoming if query.order == "next" else _page
    found, cursor = await page(gateway, wanted, query.cursor, query.limit)
    detailed = sees_model_errors(gateway.settings, key.scope)
    return JobPage(jobs=[ListedJob.seen(job, detailed) for job in found], cursor=cursor)


@router.get("/v1/jobs/counts", response_model=JobCounts)
async def counts(request: Request, key: Caller, query: Annotated[CountQuery, Query()]) -> JobCounts:
    """How many requests match, by status; a call counts 10,000 requests at most."""
    gateway = gateway_of(request)
    wanted, place = await filter_of(gateway, key, query), Place.of(query.cursor or "")
    counted: Counter[Status] = Counter()
    for _ in range(MOST_STEPS):
        part = await gateway.store.run(steering.count(wanted, place))
        counted, place = counted + part.counts, part.place
        if part.ended:
            return JobCounts(counts=dict(counted), cursor=None)
    return JobCounts(counts=dict(counted), cursor=str(place))


async def filter_of(gateway: Gateway, key: ApiKey, query: JobQuery) -> JobFilter:
    """The filter for the store. Raises Problem 403 for jobs of another key, and NotFound."""
    owner = owner_for(key)
    if owner and query.key not in (None, owner):
        message = "Only a key with the scope admin reads the requests of other keys."
        raise Problem(403, "unauthorized", message)
    models = await _models(gateway, key) if query.model or query.environment else []
    return JobFilter(
        key=query.key or owner,
        model=_model_id(query.model, models),
        deployments=_deployments(query, models),
        statuses=tuple(query.status),
        level=query.priority,
        created_after=_milliseconds(query.created_after),
        created_before=_milliseconds(query.created_before),
        error_code=query.error_code or "",
        error_text=query.error_text or "",
        detailed=sees_model_errors(gateway.settings, key.scope),
    )


async def _models(gateway: Gateway, key: ApiKey) -> list[Model]:
    """The models that the key may use. A restricted key does not learn whether there are others."""
    known = await gateway.store.run(registry.models())
    return [model for model in known if not key.models or {model.id, model.name} & set(key.models)]


def _model_id(reference: str | None, models: Iterable[Model]) -> str:
    """The id of a model by its id or name. A model that is gone has left requests, which its id finds. Raises NotFound."""
    found = next((model.id for model in models if model.name == reference), reference or "")
    if found and not MODEL_ID.fullmatch(found):
        raise NotFound(no_model(found))
    return found


def _deployments(query: JobQuery, models: list[Model]) -> tuple[str, ...] | None:
    given = None if query.deployment is None else (query.deployment,)
    if query.environment is None:
        return given
    model_id = _model_id(query.model, models)
    named = [
        model.environments[query.environment].deployment_id
        for model in models
        if query.environment in model.environments and model_id in ("", model.id)
    ]
    if not named:
        raise NotFound(f"There is no environment {query.environment!r}.")
    return tuple(deployment for deployment in named if given is None or deployment in given)


def _milliseconds(time: datetime | None) -> int | None:
    return None if time is None else int(time.timestamp() * 1000)


async def _page(
    gateway: Gateway, wanted: JobFilter, cursor: str | None, limit: int
) -> tuple[list[Job], str | None]:
    """Up to `limit` jobs and the cursor of the next page, None at the end."""

    def look(place: Place, most: int) -> ScriptCall[Found[Place]]:
        return steering.find(wanted, place, most)

    return await _in_steps(gateway, look, Place.of(cursor or ""), limit)


async def _upcoming(
    gateway: Gateway, wanted: JobFilter, cursor: str | None, limit: int
) -> tuple[list[Job], str | None]:
    """The same in the order in which each deployment will claim its queued jobs."""
    if wanted.deployments is None:
        known = await all_deployments(gateway.store)
        own = (each.id for each in known if wanted.model in ("", each.model_id))
        wanted = replace(wanted, deployments=tuple(own))

    def look(turn: Turn, most: int) -> ScriptCall[Found[Turn]]:
        return steering.upcoming(wanted, turn, most)

    return await _in_steps(gateway, look, Turn.of(cursor or ""), limit)


async def _in_steps(
    gateway: Gateway, look: Callable[[At, int], ScriptCall[Found[At]]], at: At, limit: int
) -> tuple[list[Job], str | None]:
    """Looks from place to place until there are `limit` jobs, or for MOST_STEPS."""
    found: list[Job] = []
    for _ in range(MOST_STEPS):
        part = await gateway.store.run(look(at, limit - len(found)))
        found += part.jobs
        at = part.at
        if part.ended:
            return found, None
        if len(found) == limit:
            break
    return found, str(at)

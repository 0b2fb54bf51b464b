"""What the pages of requests show."""

import contextlib
from collections.abc import Mapping, Set
from typing import Any

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import StreamingResponse

from api import body as bodies
from api.console.code import Called, calls
from api.console.deliveries import teller
from api.console.rendering import MOST_SHOWN, pretty
from api.console.sessions import Viewer
from api.console.story import story
from api.gateway import Gateway, gateway_of
from api.problems import Problem
from api.routes.async_requests import job_and_status, statuses
from api.routes.jobs import inputs, listing
from api.routes.jobs.schemas import PagedQuery
from api.schemas import DeliveryView
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment
from tasks.errors import NotFound, PayloadUnavailable
from tasks.job import Job
from tasks.state import FINAL, Status
from tasks.steering import verbs as steering
from tasks.steering.filters import JobFilter, Place
from tasks.webhooks import verbs as outbox

PAGE = 50  # rows
MOST_OTHERS = 3  # deployments that a waiting request can be moved to by a button
TOO_LONG = "This input is too long to be edited in a page; use `kingpost jobs retry ID --edit`."
NO_JOBS: dict[str, Any] = {"rows": [], "cursor": None, "order": "newest", "several": False}
QUERY = TypeAdapter(PagedQuery)
HIDDEN_INPUT = '{"...": "the input"}'


async def jobs_page(request: Request, viewer: Viewer, wanted: Mapping[str, str]) -> dict[str, Any]:
    """`rows`: the jobs that match, each with why it waits. `cursor`: where the next page begins, or None. `order` as over REST. Raises Problem."""
    fields: dict[str, Any] = {**wanted, "limit": PAGE}
    if "status" in wanted:
        fields["status"] = wanted["status"].split(",")
    chosen = wanted.get("order")
    fields["order"] = chosen or ("next" if is_one_queue(wanted) else "newest")
    query = bodies.validated(QUERY, fields)
    found = await listing.jobs(request, viewer.key, query)
    if query.order == "next" and not chosen and not found.jobs and found.cursor:
        # The first ten thousand of this queue are of other keys.
        query = query.model_copy(update={"order": "newest", "cursor": None})
        found = await listing.jobs(request, viewer.key, query)
    unfinished = [job.request_id for job in found.jobs if job.status not in FINAL]
    now = await statuses(request, unfinished, viewer.key) if unfinished else {}
    rows = [
        {"job": job, "now": now.get(job.request_id)}
        for job in found.jobs
        if job.status in FINAL
        or job.request_id in now  # else it was purged since the list was read
    ]
    several = len({job.deployment_id for job in found.jobs}) > 1
    return {"rows": rows, "cursor": found.cursor, "order": query.order, "several": several}


def is_one_queue(wanted: Mapping[str, str]) -> bool:
    """Whether a filter is about the queued requests of one model or deployment: they are shown next first."""
    return wanted.get("status") == Status.QUEUED and ("model" in wanted or "deployment" in wanted)


async def job_page(request: Request, viewer: Viewer, request_id: str) -> dict[str, Any]:
    """Values for the live part of the page of a request. Raises Problem 404."""
    gateway = gateway_of(request)
    job, now = await job_and_status(request, request_id, viewer.key)
    return {
        "own": job.api_key == viewer.key.id,
        "now": now,
        "job": job,
        "name": await _model_name(gateway, job.model_id),
        "steps": story(job, now),
        "final": job.status in FINAL,
        "delivery": await _delivery(gateway, job),
        "told": teller(gateway.settings),
        "others": await _others(gateway, job) if job.status is Status.QUEUED else [],
        "input_gone": job.status in FINAL and not gateway.settings.keep_inputs,
    }


async def job_input(request: Request, shown: dict[str, Any]) -> dict[str, Any]:
    """Values for the rest of that page: the input, if the viewer sent it, and the same call in code."""
    job: Job = shown["job"]
    given = await _input(gateway_of(request), job) if shown["own"] else None
    text = given.decode(errors="replace") if given is not None else HIDDEN_INPUT
    base = f"{request.url.scheme}://{request.url.netloc}"
    called = Called(base, shown["name"], job.deployment_id, text, "async", job.level)
    return {
        "given": pretty(given) if given is not None else "",
        "given_kept": given is not None,
        "calls": calls(called),
    }


async def given_again(request: Request, request_id: str) -> str:
    """The input of a request, to be edited and run again. The audit log notes it if another key sent it.

    Raises Problem, with 413 for an input that is too long.
    """
    response = await inputs.job_input(request, request_id)
    if isinstance(response, StreamingResponse):
        raise Problem(413, "payload_too_large", TOO_LONG)
    return pretty(bytes(response.body))


async def versions_of(gateway: Gateway, model_ids: Set[str]) -> dict[str, list[Deployment]]:
    """The active deployments of models, the newest first: where waiting requests can move to. It has an entry for each model."""
    known = await gateway.store.run(registry.deployments()) if model_ids else []
    found: dict[str, list[Deployment]] = {model_id: [] for model_id in model_ids}
    for each in sorted(known, key=lambda each: each.created, reverse=True):
        if each.active and each.model_id in found:
            found[each.model_id].append(each)
    return found


async def _others(gateway: Gateway, job: Job) -> list[Deployment]:
    """The first MOST_OTHERS of these but the request's own."""
    versions = await versions_of(gateway, {job.model_id})
    return [each for each in versions[job.model_id] if each.id != job.deployment_id][:MOST_OTHERS]


async def _delivery(gateway: Gateway, job: Job) -> DeliveryView | None:
    found = await gateway.store.run(outbox.delivery(job.request_id)) if job.webhook else None
    return DeliveryView.of(job.request_id, found) if found else None


async def _model_name(gateway: Gateway, model_id: str) -> str:
    """The name of a model, or its id if it was deleted."""
    try:
        return (await gateway.store.run(registry.model(model_id))).name
    except NotFound:
        return model_id


async def _input(gateway: Gateway, job: Job) -> bytes | None:
    """The input, or the first part of a long one. None if it is no longer kept."""
    if job.input_ref:
        taken = b""
        with contextlib.suppress(PayloadUnavailable, NotFound):
            async for piece in await gateway.payloads.read_async(job.input_ref):
                taken += piece
                if len(taken) > MOST_SHOWN:
                    break
        return taken or None
    return await gateway.store.input(job.request_id)


async def latest_input(request: Request, viewer: Viewer, model_id: str) -> str:
    """The input of the viewer's newest request of a model, '' if there is none that is kept."""
    gateway = gateway_of(request)
    wanted = JobFilter(key=viewer.key.id, model=model_id)
    found = await gateway.store.run(steering.find(wanted, Place.of(""), 1))
    given = await _input(gateway, found.jobs[0]) if found.jobs else None
    return pretty(given) if given is not None and len(given) <= MOST_SHOWN else ""

"""What the pages of requests show."""

import base64
import contextlib
import json
import re
import shlex
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import quote

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import StreamingResponse

from api import body as bodies
from api.console.rendering import MOST_SHOWN, pretty
from api.console.sessions import Viewer
from api.gateway import Gateway, gateway_of
from api.problems import Problem
from api.routes.async_requests import job_and_status
from api.routes.jobs import inputs, listing
from api.routes.jobs.schemas import PagedQuery
from deployments.registry import verbs as registry
from tasks.errors import NotFound, PayloadUnavailable
from tasks.files.kinds import sniffed
from tasks.job import Job
from tasks.state import FINAL, Status
from tasks.steering import verbs as steering
from tasks.steering.filters import JobFilter, Place

PAGE = 50  # rows
TOO_LONG = "This input is too long to be edited in a page; use `kingpost jobs retry ID --edit`."
QUERY = TypeAdapter(PagedQuery)
IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
MEDIA = ("audio/", "video/")
MOST_PICTURES = 12
SHORTEST = 60  # characters of a picture in base64
BASE64 = re.compile(rf"[A-Za-z0-9+/=\s]{{{SHORTEST},}}")


async def jobs_page(request: Request, viewer: Viewer, wanted: Mapping[str, str]) -> dict[str, Any]:
    """The rows that match, with why each queued one waits, and where the next page begins. Raises Problem."""
    fields: dict[str, Any] = {**wanted, "limit": PAGE}
    if "status" in wanted:
        fields["status"] = wanted["status"].split(",")
    query = bodies.validated(QUERY, fields)
    found = await listing.jobs(request, viewer.key, query)
    rows: list[dict[str, Any]] = []
    for job in found.jobs:
        if job.status in FINAL:
            rows.append({"job": job, "now": None})
            continue
        with contextlib.suppress(Problem):  # purged since the list was read
            _, now = await job_and_status(request, job.request_id, viewer.key)
            rows.append({"job": job, "now": now})
    return {"rows": rows, "cursor": found.cursor}


async def job_page(request: Request, viewer: Viewer, request_id: str) -> dict[str, Any]:
    """What the page of a request shows. Raises Problem 404."""
    gateway = gateway_of(request)
    job, now = await job_and_status(request, request_id, viewer.key)
    name = await _model_name(gateway, job.model_id)
    own = job.api_key == viewer.key.id
    given = await _input(gateway, job) if own else None
    return {
        "own": own,
        "now": now,
        "job": job,
        "name": name,
        "given": pretty(given) if given is not None else "",
        "given_kept": given is not None,
        "output": await _output(gateway, job),
        "steps": _steps(now),
        "final": job.status in FINAL,
        "calls": calls(
            f"{request.url.scheme}://{request.url.netloc}",
            name,
            job.deployment_id,
            job.level,
            given,
        ),
    }


async def given_again(request: Request, request_id: str) -> str:
    """The input of a request that is to run again with another one. Somebody else's is noted in the audit log. Raises Problem."""
    response = await inputs.job_input(request, request_id)
    if isinstance(response, StreamingResponse):
        raise Problem(413, "payload_too_large", TOO_LONG)
    return pretty(bytes(response.body))


async def _model_name(gateway: Gateway, model_id: str) -> str:
    """Its name, or its id if it was deleted."""
    try:
        return (await gateway.store.run(registry.model(model_id))).name
    except NotFound:
        return model_id


async def _input(gateway: Gateway, job: Job) -> bytes | None:
    """The first part of the input, None if it is no longer kept."""
    if job.input_ref:
        taken = b""
        with contextlib.suppress(PayloadUnavailable, NotFound):
            async for piece in await gateway.payloads.read_async(job.input_ref):
                taken += piece
                if len(taken) > MOST_SHOWN:
                    break
        return taken or None
    return await gateway.store.input(job.request_id)


async def _output(gateway: Gateway, job: Job) -> dict[str, Any] | None:
    """How the output is shown: as a picture, a sound, a film, text, or only a download."""
    if job.status is not Status.SUCCEEDED:
        return None
    kind = (job.output_type or "").partition(";")[0].strip().lower()
    said: dict[str, Any] = {
        "kind": kind,
        "bytes": job.output_bytes or 0,
        "text": "",
        "pictures": [],
        "as": "file",
    }
    if kind in IMAGES:
        said["as"] = "image"
    elif kind.startswith(MEDIA):
        said["as"] = kind.partition("/")[0]
    elif (job.output_bytes or 0) <= MOST_SHOWN * 20 and not job.output_ref:
        raw = await gateway.store.output(job.request_id) or b""
        if kind.endswith("json"):
            said |= {"as": "text"} | _without_pictures(raw)
        elif kind.startswith("text/"):
            said |= {"as": "text", "text": pretty(raw)}
    return said


def _without_pictures(raw: bytes) -> dict[str, Any]:
    """JSON as text, with a remark in place of each picture in base64; and up to 12 of the pictures as data addresses."""
    pictures: list[str] = []

    def seen(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: seen(part) for name, part in cast("dict[str, Any]", value).items()}
        if isinstance(value, list):
            return [seen(part) for part in cast("list[Any]", value)]
        kind = _picture_in(value) if isinstance(value, str) else None
        if kind is None or len(pictures) == MOST_PICTURES:
            return value
        pictures.append(f"data:{kind};base64,{value}")
        return f"(a picture in base64, {len(value)} characters)"

    try:
        return {"text": pretty(json.dumps(seen(json.loads(raw)))), "pictures": pictures}
    except (ValueError, RecursionError):
        return {"text": pretty(raw)}


def _picture_in(text: str) -> str | None:
    """The media type of a picture in base64, None if it is none."""
    if not BASE64.fullmatch(text):
        return None
    kind, _ = sniffed(base64.b64decode(text[:SHORTEST], validate=False))
    return kind if kind in IMAGES else None


async def example(request: Request, viewer: Viewer, model_id: str) -> str:
    """The input of the viewer's newest request of a model, `{}` if there is none that is kept."""
    gateway = gateway_of(request)
    wanted = JobFilter(key=viewer.key.id, model=model_id)
    found = await gateway.store.run(steering.find(wanted, Place.of(""), 1))
    given = await _input(gateway, found.jobs[0]) if found.jobs else None
    return pretty(given) if given is not None and len(given) <= MOST_SHOWN else "{}"


def _steps(now: Any) -> list[dict[str, Any]]:
    """The story of a request, in the order of time."""
    steps: list[dict[str, Any]] = [{"what": "submitted", "at": now.created_at, "why": ""}]
    started = {"what": f"attempt {now.attempt} started", "at": now.started_at, "why": ""}
    for number, error in enumerate(now.errors, 1):
        if number == now.attempt and now.started_at:
            steps.append(started)
        why = f"{error.code}: {error.message}"
        steps.append({"what": f"attempt {number} failed", "at": None, "why": why})
    if now.started_at and len(now.errors) < now.attempt:
        steps.append(started)
    if now.status == "QUEUED":
        why = " ".join(filter(None, (now.waiting_for, now.waiting_reason)))
        steps.append({"what": "waits", "at": now.status_at, "why": why})
    elif now.status != "IN_PROGRESS":
        steps.append(
            {"what": now.status.lower(), "at": now.finished_at or now.status_at, "why": ""}
        )
    if now.stopped_at:
        steps.append(
            {"what": f"its call was stopped ({now.stopped_by})", "at": now.stopped_at, "why": ""}
        )
    return steps


def calls(
    base: str, name: str, deployment_id: str, level: int, given: bytes | None
) -> dict[str, str]:
    """The same request as it is sent by other means. Somebody may copy a line into a shell, so what others named is quoted."""
    text = (given or b"{}").decode(errors="replace")
    if len(text) > 2000:
        text = '{"...": "the input is too long for a command line"}'
    try:
        body = json.dumps({"model_input": json.loads(text), "priority": level})
        python_input = repr(json.loads(text))
    except ValueError:
        body, python_input = json.dumps({"model_input": text}), repr(text)
    url = shlex.quote(
        f"{base}/models/{quote(name, safe='')}/deployment/{deployment_id}/async_predict"
    )
    return {
        "curl": f'curl {url} -H "Authorization: Api-Key $KINGPOST_API_KEY" -d {shlex.quote(body)}',
        "Python": f"from kingpost import Client\n\njob = Client({base!r}).submit({name!r}, {python_input}, deployment={deployment_id!r}, priority={level})\nprint(job.wait())",
        "kingpost": f"kingpost predict {shlex.quote(name)} --deployment {deployment_id} --async --priority {level} -i {shlex.quote(text)}",
    }

"""Most pages of the console. Each asks the same code as the REST API; a change goes through the bridge to the REST route itself."""

import json
from collections.abc import AsyncGenerator
from importlib.metadata import version
from typing import Annotated
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from api import body as bodies
from api.console import overview, sessions
from api.console.attention import attention
from api.console.deliveries import teller
from api.console.jobs import NO_JOBS, job_input, job_page, jobs_page, versions_of
from api.console.live.parts import shared
from api.console.machines import machines
from api.console.rendering import SECURITY, is_part, page, static
from api.console.routing import PageRoute
from api.console.sessions import Viewer, Viewing
from api.gateway import authenticate, gateway_of
from api.problems import Problem
from api.routes.control import audit as audit_routes
from api.routes.control import keys as key_routes
from api.routes.control import overview as overview_routes
from api.routes.control import webhooks as webhook_routes
from deployments.registry import verbs as registry
from tasks.api_keys import SCOPES
from tasks.errors import NotFound
from tasks.outside_text import utf8
from tasks.store.job_store import unavailable

router = APIRouter(prefix="/ui", include_in_schema=False, route_class=PageRoute)
MOST_LOGIN_BYTES = 4096  # of the form's body
WRONG_KEY = "This key is unknown, revoked or expired, or it may not use models."


@router.get("/static/{digest}/{name}")
async def static_file(digest: str, name: str) -> Response:  # noqa: ARG001 - of the address alone
    """A style sheet or a script of ours."""
    return static(name) or Response("There is no such file.", 404, SECURITY)


@router.get("/login")
async def login_form(request: Request, next: str = "/ui") -> Response:
    """Asks for an API key."""
    if await sessions.viewer_in(request):
        return RedirectResponse(_console_path(next), 303, SECURITY)
    return await page(request, "login.html", None, next=_console_path(next), wrong="")


@router.post("/login")
async def login(request: Request) -> Response:
    """Begins a session."""
    _check_same_origin(request)
    body = await bodies.read(request, MOST_LOGIN_BYTES)
    form = {name: values[0] for name, values in parse_qs(body.decode(errors="replace")).items()}
    then = _console_path(form.get("next", "/ui"))
    response = RedirectResponse(then, 303, SECURITY)
    if await sessions.log_in(request, response, utf8(form.get("key", "").strip())):
        return response
    return await page(request, "login.html", None, 401, next=then, wrong=WRONG_KEY)


@router.post("/logout")
async def logout(request: Request, viewer: Viewing) -> Response:
    """Ends every session of the viewer's key, in every browser."""
    sessions.check_not_forged(request, viewer, request.method)
    response = Response(status_code=204, headers=SECURITY | {"hx-redirect": "/ui/login"})
    await sessions.log_out(request, response, viewer)
    return response


@router.get("/pulse")
async def pulse(request: Request, viewer: Viewing) -> StreamingResponse:  # noqa: ARG001 - logged in
    """Server-Sent Events: one whenever pages should ask for their content again."""
    return StreamingResponse(_pulse_events(request), 200, SECURITY, "text/event-stream")


async def _pulse_events(request: Request) -> AsyncGenerator[str]:
    gateway, beating = gateway_of(request), request.app.state.pulse
    yield "retry: 3000\n\n"
    async for number in beating.changes():
        if gateway.hub.closing or await sessions.viewer_in(request) is None:
            return
        yield ": still here\n\n" if number is None else f"data: {number}\n\n"


@router.get("")
async def home(request: Request, viewer: Viewing) -> Response:
    """What runs, what waits, and what needs somebody."""
    return await shared(request, viewer, lambda seer: _home(request, seer))


async def _home(request: Request, viewer: Viewer) -> Response:
    gateway = gateway_of(request)
    rows = await overview.model_rows(gateway, viewer)
    number = request.app.state.pulse.number
    hour = await gateway.history.hour(number) if viewer.may("deploy") else None
    owners = {entry.deployment.id: row.model.id for row in rows for entry in row.deployments}
    found = await machines(request, viewer, owners)
    needs = await attention(gateway, viewer, rows, hour, found.nodes if found else None)
    return await page(
        request, "overview.html", viewer, models=rows, attention=needs, hour=hour, machines=found
    )


@router.get("/nodes")
async def nodes(request: Request, viewer: Viewing) -> Response:
    """The machines: their GPUs, their replicas, and when they last reported."""
    await authenticate(request, "deploy")
    return await shared(request, viewer, lambda seer: _nodes(request, seer))


async def _nodes(request: Request, viewer: Viewer) -> Response:
    known = await gateway_of(request).store.run(registry.deployments())
    owners = {deployment.id: deployment.model_id for deployment in known}
    found = await machines(request, viewer, owners)
    return await page(request, "nodes.html", viewer, machines=found, version=version("kingpost"))


@router.get("/settings")
async def settings(request: Request, viewer: Viewing) -> Response:
    """The settings in force, without secrets, and what the store says of itself."""
    said = await overview_routes.settings(request, await authenticate(request, "admin"))
    with unavailable():
        store = await gateway_of(request).store.redis.info()
    return await page(request, "settings.html", viewer, said=said, store=store)


@router.get("/jobs")
async def jobs(request: Request, viewer: Viewing) -> Response:
    """Requests by a filter, which is in the address."""
    return await shared(request, viewer, lambda seer: _jobs(request, seer))


async def _jobs(request: Request, viewer: Viewer) -> Response:
    wanted = {name: value for name, value in request.query_params.items() if value}
    found, wrong = NO_JOBS, ""
    try:
        found = await jobs_page(request, viewer, wanted)
    except Problem as problem:
        wrong = problem.message
    except NotFound as error:  # the model or the environment of the filter
        wrong = str(error)
    models = await overview.models_of(gateway_of(request), viewer)
    names = {model.id: model.name for model in models}
    chosen = next((id_ for id_, name in names.items() if wanted.get("model") in (id_, name)), "")
    shown = {row["job"].model_id for row in found["rows"] if row["now"]} | {chosen}
    versions = {} if is_part(request) else await versions_of(gateway_of(request), shown - {""})
    more = {**wanted, "order": found["order"], "cursor": found["cursor"]} if found["cursor"] else {}
    plain = {name: value for name, value in wanted.items() if name not in ("cursor", "order")}
    other = {**plain, "order": "newest" if found["order"] == "next" else "next"}
    return await page(
        request, "jobs.html", viewer, wanted=plain, more=urlencode(more), names=names, wrong=wrong, **found,
        other_order=urlencode(other), versions=versions, chosen=versions.get(chosen, []), filter_json=json.dumps(plain),
    )  # fmt: skip


@router.get("/jobs/{request_id}")
async def job(request: Request, viewer: Viewing, request_id: str) -> Response:
    """One request: what became of it and why, its input and its output."""
    shown = await job_page(request, viewer, request_id)
    if not is_part(request):
        shown |= await job_input(request, shown)
    return await page(request, "job.html", viewer, **shown)


@router.get("/keys")
async def keys(request: Request, viewer: Viewing) -> Response:
    """API keys: who has one, what it may do, and its use."""
    found = await key_routes.listed(request, await authenticate(request, "admin"))
    return await page(request, "keys.html", viewer, keys=found.keys, scopes=SCOPES)


@router.get("/webhooks")
async def webhooks(request: Request, viewer: Viewing) -> Response:
    """Webhooks that were given up, with every attempt, and the secrets that sign."""
    admin = await authenticate(request, "admin")
    found = await webhook_routes.given_up(request, admin)
    signing = await webhook_routes.listed_secrets(request, admin)
    return await page(
        request, "webhooks.html", viewer, found=found, secrets=signing.webhook_secrets,
        told=teller(gateway_of(request).settings),
    )  # fmt: skip


@router.get("/audit")
async def audit(
    request: Request,
    viewer: Viewing,
    cursor: Annotated[str | None, Query(pattern=audit_routes.CURSOR)] = None,
) -> Response:
    """Who changed what."""
    admin = await authenticate(request, "admin")
    found = await audit_routes.entries(request, admin, cursor=cursor, limit=100)
    return await page(request, "audit.html", viewer, entries=found.entries, cursor=found.cursor)


@router.get("/{rest:path}")
async def nowhere(viewer: Viewing, rest: str) -> Response:  # noqa: ARG001 - for who is logged in
    """A page that does not exist."""
    if not rest:
        return RedirectResponse("/ui", 303, SECURITY)
    raise Problem(404, "client_error", f"The console has no page /ui/{rest[:100]}.")


def _console_path(path: str) -> str:
    """The path, if it is one of the console's; else the first page."""
    return path if path == "/ui" or path.startswith(("/ui/", "/ui?")) else "/ui"


def _check_same_origin(request: Request) -> None:
    """A login form on a foreign page must not log a browser in. Raises Problem 403."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is None and origin is not None:  # plain HTTP from another machine
        own = origin.partition("://")[2].lower() == request.headers.get("host", "").lower()
        site = "same-origin" if own else "cross-site"
    if site not in (None, "same-origin", "none"):
        raise Problem(403, "unauthorized", "This login was sent by a page of another site.")

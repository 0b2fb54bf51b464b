"""The page of a model: its versions, what changed between them, and what each of them logged."""

import asyncio
import contextlib
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.console.changes import changes
from api.console.live.parts import shared
from api.console.overview import PRODUCTION, DeploymentRow, ModelRow, model_rows
from api.console.rendering import page
from api.console.routing import PageRoute
from api.console.sessions import Viewer, Viewing
from api.gateway import authenticate, gateway_of
from api.problems import Problem
from api.routes.control.overview import nodes as nodes_route
from tasks.errors import NotFound, PayloadUnavailable
from tasks.log_store.lines import LEVELS, Level

router = APIRouter(prefix="/ui/models/{model}", include_in_schema=False, route_class=PageRoute)
MOST_VERSIONS = 30  # of a model on its page
Which = Annotated[str, Query(max_length=100)]


@router.get("")
async def model(request: Request, viewer: Viewing, model: str) -> Response:
    """One model: its deployments, environments, replicas, and what can be done with them."""

    async def render(viewer: Viewer) -> Response:
        row = await one_model(request, viewer, model)
        return await page(
            request, "model.html", viewer, row=row, MOST=MOST_VERSIONS,
            hosts=await _hosts(request, viewer), chats=await _chats(request, row),
        )  # fmt: skip

    return await shared(request, viewer, render)


async def _hosts(request: Request, viewer: Viewer) -> dict[str, str]:
    """The names of the nodes by their replicas, as far as the viewer may know them."""
    nodes = (await nodes_route(request, viewer.key)).nodes if viewer.may("deploy") else ()
    return {replica.id: node.host for node in nodes for replica in node.replicas}


async def _chats(request: Request, row: ModelRow) -> bool:
    with contextlib.suppress(PayloadUnavailable):
        if row.deployments:
            return await gateway_of(request).packages.chats(row.deployments[0].deployment)
    return False


@router.get("/changes")
async def what_changed(
    request: Request, viewer: Viewing, model: str, old: Which = "", new: Which = ""
) -> Response:
    """What differs between two versions.

    Without a choice the newest is compared with production. Production itself is compared with what was there before it.
    """
    await authenticate(request, "deploy")
    row = await one_model(request, viewer, model)
    versions = sorted(row.deployments, key=lambda entry: entry.deployment.created, reverse=True)
    after = _chosen(versions, new) if new else next(iter(versions), None)
    before = _chosen(versions, old) if old else _to_compare(row, versions, after)
    found = None
    if before and after:
        packages = gateway_of(request).packages
        contents = [await packages.of(entry.deployment) for entry in (before, after)]
        found = await asyncio.to_thread(changes, *contents)
    return await page(
        request, "changes.html", viewer, row=row, versions=versions, old=before, new=after, found=found
    )  # fmt: skip


@router.get("/log")
async def log(
    request: Request, viewer: Viewing, model: str, deployment: Which = "", level: Level = "debug"
) -> Response:
    """What a version printed and logged while it was built, loaded and called, and what it says now."""
    await authenticate(request, "deploy")
    row = await one_model(request, viewer, model)
    chosen = _chosen(list(row.deployments), deployment) if deployment else None
    return await page(
        request, "log.html", viewer, row=row, chosen=chosen or next(iter(row.deployments), None),
        level=level, levels=LEVELS,
    )  # fmt: skip


def _chosen(versions: list[DeploymentRow], deployment_id: str) -> DeploymentRow:
    """The version with that id. Raises Problem 404."""
    for entry in versions:
        if entry.deployment.id == deployment_id:
            return entry
    raise Problem(404, "client_error", f"This model has no deployment {deployment_id[:40]}.")


def _to_compare(
    row: ModelRow, versions: list[DeploymentRow], after: DeploymentRow | None
) -> DeploymentRow | None:
    """What a version is compared with: production; for production itself, what was there before it."""
    production = row.model.environments.get(PRODUCTION)
    known = {entry.deployment.id: entry for entry in versions}
    serving = known.get(production.deployment_id or "") if production else None
    if serving is None or after is None:
        return _one_before(versions, after)
    if serving is not after:
        return serving
    previous = production.previous if production else None
    return known.get(previous or "") or _one_before(versions, after)


def _one_before(versions: list[DeploymentRow], after: DeploymentRow | None) -> DeploymentRow | None:
    """The version that came before that one; `versions` begin with the newest."""
    behind = versions.index(after) + 1 if after else len(versions)
    return versions[behind] if behind < len(versions) else None


async def one_model(request: Request, viewer: Viewer, model: str) -> ModelRow:
    """A model by its name or id. Raises NotFound for one that the viewer's key may not use, too."""
    rows = await model_rows(gateway_of(request), viewer, model)
    if not rows:
        raise NotFound(f"There is no model {model} that this key may use.")
    return rows[0]

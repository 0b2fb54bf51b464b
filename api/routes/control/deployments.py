"""Makes, follows and deletes deployments of stored packages; pauses and deletes models."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from api.audit import audits
from api.gateway import gateway_of
from api.problems import Problem
from api.routes.control.deployer import Deployer, Manage, body_of, read_body
from api.routes.control.packages import HASH
from api.routes.control.progress import steps
from api.routes.management_schemas import DeploymentView
from deployments.packages.deploying import PackageMissing, Wish
from tasks.access.audit import Change

EVENTS = {"content": {"text/event-stream": {"schema": {"type": "string"}}}}
Force = Annotated[bool, Query(description="Also with requests, which are canceled.")]


class NewDeploymentBody(BaseModel):
    """POST /v1/deployments."""

    model_config = ConfigDict(extra="forbid")

    content_hash: Annotated[str, Field(pattern=HASH)]
    name: Annotated[str, Field(description="Instead of model_name in config.yaml.")] | None = None
    environment: Annotated[str, Field(description="Promote the deployment to it.")] | None = None
    promote: Annotated[bool, Field(description="Promote it to production.")] = False
    allow_unsupported: list[str] = []


class NewDeployment(BaseModel):
    """A deployment, and what became of its promotion: `switched`, `warming` or `unchanged`; null without one."""

    deployment: DeploymentView
    model_name: str
    promotion: str | None


class Paused(BaseModel):
    """Whether a model's jobs are held back, and how many wait."""

    paused: bool
    waiting: int


class Deleted(BaseModel):
    """What was deleted, and how many of its requests were canceled."""

    id: str
    deleted: bool = True
    canceled_requests: int


IN_USE: dict[int | str, dict[str, Any]] = {
    409: {"description": "It has work, serves, or follows a folder."}
}
router = APIRouter(prefix="/v1", tags=["deployments"])


@router.post(
    "/deployments",
    response_model=NewDeployment,
    status_code=201,
    openapi_extra=body_of(NewDeploymentBody),
)
async def deploy(
    request: Request,
    manage: Manage,
    change: Annotated[Change, audits("deployment.push", "deploy")],
) -> NewDeployment:
    """Makes a deployment of a stored package. The same package for the same model is the same deployment."""
    asked = await read_body(request, NewDeploymentBody)
    environment = asked.environment or ("production" if asked.promote else "")
    wish = Wish(asked.content_hash, asked.name or "", environment, asked.allow_unsupported)
    change.target = wish.name or wish.content_hash
    try:
        made = await gateway_of(request).deploying.deploy(wish)
    except PackageMissing as error:
        raise Problem(404, "client_error", str(error)) from None
    found = made.deployment
    change.target = f"{found.model_name}/{found.id}"
    if wish.environment:
        change.target += f" to {wish.environment}"
    model, deployment, status = await manage.deployment(found.model_id, found.id)
    view = DeploymentView.of(deployment, model, status)
    return NewDeployment(
        deployment=view, model_name=found.model_name, promotion=made.promotion or None
    )


@router.get(
    "/models/{model}/deployments/{which}/events",
    response_class=StreamingResponse,
    responses={200: EVENTS},
)
async def events(
    request: Request, manage: Manage, _: Deployer, model: str, which: str
) -> StreamingResponse:
    """The steps of a deployment until it is ready or has failed, as Server-Sent Events."""
    deployment = (await manage.deployment(model, which))[1]
    source = steps(gateway_of(request), deployment.id)
    headers = {"Cache-Control": "no-store"}
    return StreamingResponse(source, media_type="text/event-stream", headers=headers)


@router.delete(
    "/models/{model}/deployments/{which}",
    response_model=Deleted,
    responses=IN_USE,
    dependencies=[audits("deployment.delete", "deploy")],
)
async def delete_deployment(
    request: Request, model: str, which: str, force: Force = False
) -> Deleted:
    """Deletes a deployment. One with requests, or in an environment, needs `force`."""
    return Deleted(**vars(await gateway_of(request).removal.deployment(model, which, force)))


@router.delete(
    "/models/{model}",
    response_model=Deleted,
    responses=IN_USE,
    dependencies=[audits("model.delete", "deploy")],
)
async def delete_model(request: Request, model: str, force: Force = False) -> Deleted:
    """Deletes a model with all its deployments and environments. One with requests needs `force`."""
    return Deleted(**vars(await gateway_of(request).removal.model(model, force)))


@router.post(
    "/models/{model}/pause",
    response_model=Paused,
    dependencies=[audits("model.pause", "deploy")],
)
async def pause(manage: Manage, model: str) -> Paused:
    """Holds a model's queued requests back. Running ones finish, new ones are accepted."""
    return Paused(paused=True, waiting=await manage.pause(model, True))


@router.post(
    "/models/{model}/resume",
    response_model=Paused,
    dependencies=[audits("model.resume", "deploy")],
)
async def resume(manage: Manage, model: str) -> Paused:
    """Lets a model's queued requests run again."""
    return Paused(paused=False, waiting=await manage.pause(model, False))

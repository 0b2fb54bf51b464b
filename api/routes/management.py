"""The management API: the calls of Baseten's that clients and CI make. Keys need the scope `deploy`, `full` or `admin`."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Request
from pydantic import TypeAdapter

from api import body as bodies
from api.audit import audits
from api.gateway import authenticate, gateway_of
from api.routes.management_schemas import (
    Acted,
    AutoscalingBody,
    AutoscalingSettings,
    Changed,
    DeploymentView,
    EnvironmentBody,
    EnvironmentChanged,
    EnvironmentDeleted,
    EnvironmentView,
    NewEnvironmentBody,
    PromoteBody,
    Retried,
)
from deployments.registry.management import Management
from tasks.access.audit import Change

T = TypeVar("T")
SMALL_BODY = 65_536  # bytes


async def _deployer(request: Request) -> None:
    await authenticate(request, "deploy")


PROMOTE = {
    "required": True,
    "content": {"application/json": {"schema": PromoteBody.model_json_schema()}},
}
router = APIRouter(prefix="/v1/models", tags=["management"], dependencies=[Depends(_deployer)])
Which = str  # a deployment's id, or an environment's name


async def _management(request: Request) -> Management:
    return gateway_of(request).management


Manage = Annotated[Management, Depends(_management)]


async def _body(request: Request, adapter: TypeAdapter[T]) -> T:
    return bodies.parse(adapter, await bodies.read(request, SMALL_BODY) or b"{}")


@router.get("/{model}/deployments")
async def deployments(manage: Manage, model: str) -> dict[str, list[DeploymentView]]:
    """Its deployments, oldest first."""
    of_model, known = await manage.deployments(model)
    return {
        "deployments": [
            DeploymentView.of(deployment, of_model, status) for deployment, status in known
        ]
    }


@router.get("/{model}/deployments/{which}", response_model=DeploymentView)
async def deployment(manage: Manage, model: str, which: Which) -> DeploymentView:
    """One deployment, by its id or by the name of an environment that points at it."""
    return await _deployment(manage, model, which)


@router.patch("/{model}/deployments/{which}/autoscaling_settings", response_model=Changed)
async def configure(
    request: Request,
    manage: Manage,
    model: str,
    which: Which,
    change: Annotated[Change, audits("deployment.configure", "deploy")],
) -> Changed:
    """Changes any of the autoscaling settings."""
    changes = (await _body(request, TypeAdapter(AutoscalingBody))).changes()
    change.target += _values(changes)
    return _changed(await manage.configure(model, which, changes))


@router.post(
    "/{model}/deployments/{which}/activate",
    response_model=Acted,
    dependencies=[audits("deployment.activate", "deploy")],
)
async def activate(manage: Manage, model: str, which: Which) -> Acted:
    """Lets a deployment run again."""
    return Acted(no_op=not await manage.activate(model, which, True))


@router.post(
    "/{model}/deployments/{which}/deactivate",
    response_model=Acted,
    dependencies=[audits("deployment.deactivate", "deploy")],
)
async def deactivate(manage: Manage, model: str, which: Which) -> Acted:
    """Stops the deployment's replicas. Its queued requests wait."""
    return Acted(no_op=not await manage.activate(model, which, False))


@router.post(
    "/{model}/deployments/{which}/retry",
    response_model=Retried,
    dependencies=[audits("deployment.retry", "deploy")],
)
async def retry(manage: Manage, model: str, which: Which) -> Retried:
    """Loads a failed deployment again."""
    retried, reason = await manage.retry(model, which)
    view = await _deployment(manage, model, which)
    return Retried(retried=retried, reason=reason, deployment=view)


@router.post("/{model}/deployments/{which}/promote", response_model=DeploymentView)
async def promote(
    manage: Manage,
    model: str,
    which: Which,
    change: Annotated[Change, audits("deployment.promote", "deploy")],
) -> DeploymentView:
    """Promotes a deployment to production."""
    change.target = f"{model}/{which} to production"
    warnings = await manage.promote(model, which)
    return _with(warnings, await _deployment(manage, model, which))


@router.get("/{model}/environments")
async def environments(manage: Manage, model: str) -> dict[str, list[EnvironmentView]]:
    """Its environments, by name."""
    found, _ = await manage.model(model)
    return {
        "environments": [
            await _environment(manage, model, environment) for environment in found.environments
        ]
    }


@router.post("/{model}/environments", response_model=EnvironmentView)
async def create_environment(
    request: Request,
    manage: Manage,
    model: str,
    change: Annotated[Change, audits("environment.create", "deploy")],
) -> EnvironmentView:
    """Makes an environment, which points at nothing until a deployment is promoted to it."""
    asked = await _body(request, TypeAdapter(NewEnvironmentBody))
    change.target = f"{model}/{asked.name}"
    await manage.create_environment(model, asked.name)
    return await _environment(manage, model, asked.name)


@router.get("/{model}/environments/{name}", response_model=EnvironmentView)
async def environment(manage: Manage, model: str, name: str) -> EnvironmentView:
    """One environment."""
    return await _environment(manage, model, name)


@router.patch("/{model}/environments/{name}", response_model=EnvironmentChanged)
async def update_environment(
    request: Request,
    manage: Manage,
    model: str,
    name: str,
    change: Annotated[Change, audits("environment.configure", "deploy")],
) -> EnvironmentChanged:
    """Changes the autoscaling of the deployment that the environment points at."""
    asked = await _body(request, TypeAdapter(EnvironmentBody))
    changes = asked.autoscaling_settings.changes() if asked.autoscaling_settings else {}
    change.target += _values(changes)
    done = _changed(await manage.configure(model, name, changes))
    view = await _environment(manage, model, name)
    return EnvironmentChanged(environment=view, **done.model_dump())


@router.delete(
    "/{model}/environments/{name}",
    response_model=EnvironmentDeleted,
    dependencies=[audits("environment.delete", "deploy")],
)
async def delete_environment(manage: Manage, model: str, name: str) -> EnvironmentDeleted:
    """Forgets an environment; its deployment stays."""
    found = await manage.delete_environment(model, name)
    return EnvironmentDeleted(name=name, model_id=found.id)


@router.post(
    "/{model}/environments/{name}/promote",
    response_model=DeploymentView,
    openapi_extra={"requestBody": PROMOTE},
)
async def promote_to(
    request: Request,
    manage: Manage,
    model: str,
    name: str,
    change: Annotated[Change, audits("deployment.promote", "deploy")],
) -> DeploymentView:
    """Warms a deployment, then switches the environment to it."""
    asked = await _body(request, TypeAdapter(PromoteBody))
    which = asked.deployment_id
    change.target = f"{model}/{which} to {name}"
    warnings = await manage.promote(model, which, name)
    return _with(warnings, await _deployment(manage, model, which))


def _with(warnings: list[str], view: DeploymentView) -> DeploymentView:
    return view.model_copy(update={"warnings": [*warnings, *view.warnings]})


def _values(changes: Mapping[str, object]) -> str:
    return "".join(f" {name}={value}" for name, value in changes.items())


@router.post(
    "/{model}/environments/{name}/rollback",
    response_model=EnvironmentView,
    dependencies=[audits("deployment.rollback", "deploy")],
)
async def rollback(manage: Manage, model: str, name: str) -> EnvironmentView:
    """Switches an environment back to its previous deployment, or cancels its promotion."""
    warnings = await manage.rollback(model, name)
    view = await _environment(manage, model, name)
    return view.model_copy(update={"warnings": warnings})


async def _deployment(manage: Management, model: str, which: str) -> DeploymentView:
    of_model, deployment, status = await manage.deployment(model, which)
    return DeploymentView.of(deployment, of_model, status)


async def _environment(manage: Management, model: str, name: str) -> EnvironmentView:
    of_model, found = await manage.environment(model, name)
    current = candidate = None
    if found.deployment_id:
        current = await _deployment(manage, model, found.deployment_id)
    if found.candidate:
        candidate = await _deployment(manage, model, found.candidate)
    autoscaling = await manage.autoscaling_of(found)
    settings = AutoscalingSettings(**asdict(autoscaling))
    return EnvironmentView.of(found, of_model, current, candidate, settings)


def _changed(changed: bool) -> Changed:
    if changed:
        return Changed(status="ACCEPTED", message="The settings hold from now on.")
    return Changed(status="UNCHANGED", message="The settings were like this already.")

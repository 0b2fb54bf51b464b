"""The management API: the calls of Baseten's that clients and CI make. Keys need the scope `full`."""

from collections.abc import Callable
from dataclasses import asdict
from typing import TypeVar

from fastapi import APIRouter, Depends, Request
from pydantic import TypeAdapter

from api import body as bodies
from api.gateway import authenticate, gateway_of
from api.problems import Problem
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
    ModelView,
    NewEnvironmentBody,
    PromoteBody,
    Retried,
)
from deployments.registry.autoscaling import BadSetting
from deployments.registry.management import Management
from deployments.registry.registry import EnvironmentRefused, NotOnItsOwn

T = TypeVar("T")
SMALL_BODY = 65_536  # bytes


async def _full(request: Request) -> None:
    key = await authenticate(request, "full")
    if key.models or key.environments:
        raise Problem(403, "unauthorized", "A key that is restricted may not manage models.")


PROMOTE = {
    "required": True,
    "content": {"application/json": {"schema": PromoteBody.model_json_schema()}},
}
router = APIRouter(prefix="/v1/models", tags=["management"], dependencies=[Depends(_full)])
Which = str  # a deployment's id, or an environment's name


async def _run(request: Request, step: Callable[[Management], T]) -> T:
    """Runs a step in a thread; what is refused is a 400."""
    try:
        return await gateway_of(request).manage(step)
    except (EnvironmentRefused, NotOnItsOwn, BadSetting) as error:
        raise Problem(400, "client_error", str(error)) from error


async def _body(request: Request, adapter: TypeAdapter[T]) -> T:
    return bodies.parse(adapter, await bodies.read(request, SMALL_BODY) or b"{}")


@router.get("/{model}", response_model=ModelView)
async def model(request: Request, model: str) -> ModelView:
    """One model, by id or name."""
    return ModelView.of(*await _run(request, lambda m: m.model(model)))


@router.get("/{model}/deployments")
async def deployments(request: Request, model: str) -> dict[str, list[DeploymentView]]:
    """Its deployments, oldest first."""
    of_model, known = await _run(request, lambda m: m.deployments(model))
    return {
        "deployments": [
            DeploymentView.of(deployment, of_model, status) for deployment, status in known
        ]
    }


@router.get("/{model}/deployments/{which}", response_model=DeploymentView)
async def deployment(request: Request, model: str, which: Which) -> DeploymentView:
    """One deployment; `production` and `development` are deployments, too."""
    return await _deployment(request, model, which)


@router.patch("/{model}/deployments/{which}/autoscaling_settings", response_model=Changed)
async def configure(request: Request, model: str, which: Which) -> Changed:
    """Changes any of the autoscaling settings."""
    changes = (await _body(request, TypeAdapter(AutoscalingBody))).changes()
    return _changed(await _run(request, lambda m: m.configure(model, which, changes)))


@router.post("/{model}/deployments/{which}/activate", response_model=Acted)
async def activate(request: Request, model: str, which: Which) -> Acted:
    """Lets a deployment run again."""
    return Acted(no_op=not await _run(request, lambda m: m.activate(model, which, True)))


@router.post("/{model}/deployments/{which}/deactivate", response_model=Acted)
async def deactivate(request: Request, model: str, which: Which) -> Acted:
    """Takes its replicas away; its queued requests wait."""
    return Acted(no_op=not await _run(request, lambda m: m.activate(model, which, False)))


@router.post("/{model}/deployments/{which}/retry", response_model=Retried)
async def retry(request: Request, model: str, which: Which) -> Retried:
    """Loads a failed deployment again."""
    retried, reason = await _run(request, lambda m: m.retry(model, which))
    view = await _deployment(request, model, which)
    return Retried(retried=retried, reason=reason, deployment=view)


@router.post("/{model}/deployments/{which}/promote", response_model=DeploymentView)
async def promote(request: Request, model: str, which: Which) -> DeploymentView:
    """Promotes a deployment to production."""
    await _run(request, lambda m: m.promote(model, which))
    return await _deployment(request, model, which)


@router.get("/{model}/environments")
async def environments(request: Request, model: str) -> dict[str, list[EnvironmentView]]:
    """Its environments, by name."""
    found, _ = await _run(request, lambda m: m.model(model))
    return {
        "environments": [
            await _environment(request, model, environment) for environment in found.environments
        ]
    }


@router.post("/{model}/environments", response_model=EnvironmentView)
async def create_environment(request: Request, model: str) -> EnvironmentView:
    """Makes an environment; promote a deployment to it."""
    asked = await _body(request, TypeAdapter(NewEnvironmentBody))
    await _run(request, lambda m: m.create_environment(model, asked.name))
    return await _environment(request, model, asked.name)


@router.get("/{model}/environments/{name}", response_model=EnvironmentView)
async def environment(request: Request, model: str, name: str) -> EnvironmentView:
    """One environment."""
    return await _environment(request, model, name)


@router.patch("/{model}/environments/{name}", response_model=EnvironmentChanged)
async def update_environment(request: Request, model: str, name: str) -> EnvironmentChanged:
    """Changes the autoscaling of what it points at."""
    asked = await _body(request, TypeAdapter(EnvironmentBody))
    changes = asked.autoscaling_settings.changes() if asked.autoscaling_settings else {}
    done = _changed(await _run(request, lambda m: m.configure(model, name, changes)))
    view = await _environment(request, model, name)
    return EnvironmentChanged(environment=view, **done.model_dump())


@router.delete("/{model}/environments/{name}", response_model=EnvironmentDeleted)
async def delete_environment(request: Request, model: str, name: str) -> EnvironmentDeleted:
    """Forgets an environment; its deployment stays."""
    found = await _run(request, lambda m: m.delete_environment(model, name))
    return EnvironmentDeleted(name=name, model_id=found.id)


@router.post(
    "/{model}/environments/{name}/promote",
    response_model=DeploymentView,
    openapi_extra={"requestBody": PROMOTE},
)
async def promote_to(request: Request, model: str, name: str) -> DeploymentView:
    """Warms a deployment, then switches the environment to it."""
    asked = await _body(request, TypeAdapter(PromoteBody))
    which = asked.deployment_id
    await _run(request, lambda m: m.promote(model, which, name))
    return await _deployment(request, model, which)


async def _deployment(request: Request, model: str, which: str) -> DeploymentView:
    of_model, deployment, status = await _run(request, lambda m: m.deployment(model, which))
    return DeploymentView.of(deployment, of_model, status)


async def _environment(request: Request, model: str, name: str) -> EnvironmentView:
    of_model, found = await _run(request, lambda m: m.environment(model, name))
    current = candidate = None
    if found.deployment_id:
        current = await _deployment(request, model, found.deployment_id)
    if found.candidate:
        candidate = await _deployment(request, model, found.candidate)
    knobs = await _run(request, lambda m: m.knobs(found))
    settings = AutoscalingSettings(**asdict(knobs))
    return EnvironmentView.of(found, of_model, current, candidate, settings)


def _changed(changed: bool) -> Changed:
    if changed:
        return Changed(status="ACCEPTED", message="The settings hold from now on.")
    return Changed(status="UNCHANGED", message="The settings were like this already.")

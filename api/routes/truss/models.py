"""Models and their deployments in the words of Truss: an oracle is a model, a version is a deployment, a draft is `development`."""

from typing import Any

from api.routes.truss.call import Call
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment, Model
from deployments.registry.statuses import DeploymentStatus
from tasks.errors import NotFound

TEAM = {"id": "kingpost", "name": "kingpost", "default": True}
# What Truss calls a status outside of its REST API; the others are the same in both.
STATUSES = {
    "BUILDING": "BUILDING_MODEL",
    "DEPLOYING": "DEPLOYING_MODEL",
    "DEPLOY_FAILED": "MODEL_DEPLOY_FAILED",
    "LOADING_MODEL": "MODEL_LOADING",
    "ACTIVE": "MODEL_READY",
    "UNHEALTHY": "MODEL_UNHEALTHY",
    "DEACTIVATING": "DEACTIVATING_MODEL",
    "INACTIVE": "DEACTIVATED_MODEL",
    "WAKING_UP": "SCALING_FROM_ZERO",
}


async def teams(_: Call) -> list[dict[str, Any]]:
    """The only team."""
    return [TEAM]


async def organization(_: Call) -> dict[str, Any]:
    """The only organization."""
    return {"id": "kingpost", "workspace_name": "kingpost"}


async def user(call: Call) -> dict[str, Any]:
    """The key, which stands for its holder."""
    return {"email": f"{call.key.name or 'key'} ({call.key.id})"}


async def models(call: Call) -> list[dict[str, Any]]:
    """Every model, without chains."""
    found = await call.gateway.store.run(registry.models())
    return [_short(call, model) for model in found if model.kind == "model"]


async def model(call: Call) -> dict[str, Any]:
    """One model with its versions, by `id` or `name`."""
    reference = call.maybe("id") or call.text("name")
    known, deployments = await call.gateway.management.deployments(reference)
    versions = [version(call, known, *found) for found in reversed(deployments)]
    if call.wants("truss_signature"):
        drafts = {found.id: found for found, _ in deployments if found.id == draft_of(known)}
        for found in versions:
            if draft := drafts.get(found["id"]):
                found["truss_signature"] = await signature_of(call, draft)
    newest = versions[0] if versions else None
    primary = next((found for found in versions if found["is_primary"]), newest)
    return {**_short(call, known), "versions": versions, "primary_version": primary}


async def model_version(call: Call) -> dict[str, Any]:
    """One deployment by its id."""
    deployment = await call.gateway.store.run(registry.deployment(call.text("id")))
    found = await call.gateway.management.deployment(deployment.model_id, deployment.id)
    return version(call, *found)


async def signature_of(call: Call, draft: Deployment) -> str | None:
    """The signature of a draft, None of one that follows a folder or whose package is gone."""
    if draft.package:
        return None
    try:
        return str(await call.gateway.patching.signature(draft.content_hash))
    except NotFound:
        return None


def version(
    call: Call, model: Model, deployment: Deployment, status: DeploymentStatus
) -> dict[str, Any]:
    """A deployment as a version."""
    production = model.environments.get("production")
    return {
        "id": deployment.id,
        "semver": deployment.content_hash[:12],
        "truss_hash": deployment.content_hash,
        "truss_signature": None,
        "is_draft": deployment.id == draft_of(model),
        "is_primary": bool(production and production.deployment_id == deployment.id),
        "current_model_deployment_status": {"status": STATUSES.get(status.name, status.name)},
        "oracle": _short(call, model),
        "instance_type": {"name": None},
    }


def draft_of(model: Model) -> str:
    """The deployment that is the model's draft, or becomes it once it is warm; '' if there is none."""
    known = model.environments.get("development")
    return (known.candidate or known.deployment_id) if known else ""


def hostname(call: Call, model: Model) -> str:
    """The address below which the model is called. Clients append `/development/predict` and the like."""
    return f"{call.base}/{'chains' if model.kind == 'chain' else 'models'}/{model.id}"


def _short(call: Call, model: Model) -> dict[str, Any]:
    return {"id": model.id, "name": model.name, "hostname": hostname(call, model), "team": TEAM}

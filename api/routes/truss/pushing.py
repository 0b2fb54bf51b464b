"""What `truss push` calls: where to upload to, and deployments of what was uploaded."""

from typing import Any

from api.audit import audited
from api.routes.truss.call import Call
from api.routes.truss.models import version
from api.routes.truss.objects import BUCKET, PREFIX, s3_key, transfer_id_of
from deployments.packages.deploying import Wish
from deployments.registry import verbs as registry
from tasks.files.transfers import Purpose

NO_NAMES = "Kingpost's deployments have no names"
NO_LABELS = "Kingpost's deployments have no labels"
ONE_TIMEOUT = "Kingpost has one time limit for all loads, which the operator sets"


async def model_credentials(call: Call) -> dict[str, Any]:
    """Credentials for one upload. The client hands all fields to boto3, also the endpoint, for which it does not ask."""
    return {**await _credentials(call, "package"), "endpoint_url": call.base + PREFIX}


async def chain_credentials(call: Call) -> dict[str, Any]:
    """Credentials for the source of a chain. Its client takes no endpoint of ours, but boto3 reads one from ~/.aws/config."""
    return await _credentials(call, "source")


async def _credentials(call: Call, purpose: Purpose) -> dict[str, Any]:
    opened = await call.gateway.transfers.open(call.key.id, purpose)
    return {
        "s3_bucket": BUCKET,
        "s3_key": s3_key(opened.id),
        "aws_access_key_id": opened.id,
        "aws_secret_access_key": opened.secret,
        "aws_session_token": opened.id,
    }


async def validation(_: Call) -> dict[str, Any]:
    """Accepts every config: the package itself is checked when it has come."""
    return {"success": True, "details": "{}"}


async def create_model(call: Call) -> dict[str, Any]:
    """`truss push` of a new model."""
    _check(call, "version_name")
    wish = await _wish(call, call.text("name"), call.maybe("environment_name"))
    return {"model_version": await deployed(call, wish)}


async def create_version(call: Call) -> dict[str, Any]:
    """`truss push` of a model that exists."""
    _check(call, "name")
    known = await call.gateway.store.run(registry.model(call.text("model_id")))
    wish = await _wish(call, known.name, call.maybe("environment_name"))
    return {"model_version": await deployed(call, wish)}


async def create_draft(call: Call) -> dict[str, Any]:
    """`truss push --watch`: a development deployment."""
    _check(call, "version_name")
    wish = await _wish(call, call.text("name"), draft=True)
    return {"model_version": await deployed(call, wish)}


def _check(call: Call, name_of_deployment: str) -> None:
    call.refuse(name_of_deployment, "--deployment-name", NO_NAMES)
    call.refuse("user_deploy_metadata", "--labels", NO_LABELS)
    call.refuse("deploy_timeout_minutes", "--deploy-timeout-minutes", ONE_TIMEOUT)


async def _wish(call: Call, name: str, environment: str = "", draft: bool = False) -> Wish:
    transfer = transfer_id_of(call.text("s3_key"))
    content_hash = await call.gateway.transfers.content_hash(call.key.id, transfer)
    return Wish(content_hash, name, environment, draft=draft)


async def deployed(call: Call, wish: Wish) -> dict[str, Any]:
    """The version that was made, with an entry in the audit log as for POST /v1/deployments."""
    where = wish.environment or ("development" if wish.draft else "")
    async with audited(call.request, call.key, "deployment.push", wish.name) as change:
        made = (await call.gateway.deploying.deploy(wish)).deployment
        change.target = f"{made.model_name}/{made.id}" + (f" to {where}" if where else "")
    found = await call.gateway.management.deployment(made.model_id, made.id)
    return version(call, *found)

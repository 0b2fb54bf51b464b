"""What `truss chains push` calls: chains, their deployments, and the chainlets of one deployment."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from api.audit import audited
from api.routes.truss.call import Call
from api.routes.truss.models import TEAM, draft_of, hostname, version
from api.routes.truss.objects import transfer_id_of
from api.routes.truss.pushing import NO_NAMES
from api.routes.truss.query import QueryError
from deployments.chain_deploying import Chainlet, ChainWish
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment, Model
from tasks.errors import NotFound


class Oracle(BaseModel):
    """A chainlet's package, as `deploy_chain_atomic` names it."""

    model_name: str
    s3_key: str


class ChainletInput(BaseModel):
    """A chainlet of `deploy_chain_atomic`."""

    name: str
    oracle: Oracle


CHAINLET, CHAINLETS = TypeAdapter(ChainletInput), TypeAdapter(list[ChainletInput])


async def chains(call: Call) -> list[dict[str, Any]]:
    """Every chain."""
    found = await call.gateway.store.run(registry.models())
    return [{"id": m.id, "name": m.name, "team": TEAM} for m in found if m.kind == "chain"]


async def chain(call: Call) -> dict[str, Any]:
    """A chain with its deployments."""
    model, known = await call.gateway.management.deployments(call.text("id"))
    return {
        **_chain(call, model),
        "deployments": [
            {
                "id": deployment.id,
                "created": datetime.fromtimestamp(deployment.created / 1000, UTC).isoformat(),
                "is_draft": deployment.id == draft_of(model),
            }
            for deployment, _ in known
        ],
    }


async def chain_deployment(call: Call) -> dict[str, Any]:
    """A deployment of a chain with its chainlets, the entrypoint first."""
    store = call.gateway.store
    entrypoint = await store.run(registry.deployment(call.text("id")))
    model = await store.run(registry.model(entrypoint.model_id))
    linked = await store.run(registry.chainlets_of(entrypoint.id))
    chainlets = [await _chainlet(call, model.name, entrypoint, True)]
    for name, deployment_id in sorted(linked.items()):
        found = await store.run(registry.deployment(deployment_id))
        chainlets.append(await _chainlet(call, name, found, False))
    return {"id": entrypoint.id, "chain": _chain(call, model), "chainlets": chainlets}


async def deploy(call: Call) -> dict[str, Any]:
    """`truss chains push`. A chain that exists is named by its id."""
    call.refuse("deployment_name", "--deployment-name", NO_NAMES)
    if call.field.arguments.get("is_draft"):
        raise QueryError("Kingpost has no drafts of chains; push without --watch.")
    name = call.maybe("chain_name")
    if chain_id := call.maybe("chain_id"):
        name = (await call.gateway.store.run(registry.model(chain_id))).name
    wish = ChainWish(name, await _chainlets(call), call.maybe("environment"))
    async with audited(call.request, call.key, "deployment.push", wish.name) as change:
        made = (await call.gateway.chains.deploy(call.key.id, wish)).deployment
        where = f" to {wish.environment}" if wish.environment else ""
        change.target = f"{wish.name}/{made.id}{where}"
    model = await call.gateway.store.run(registry.model(made.model_id))
    return {"chain_deployment": {"id": made.id, "chain": _chain(call, model)}}


async def _chainlets(call: Call) -> list[Chainlet]:
    """The chainlets with what was uploaded for them, the entrypoint first."""
    arguments: Mapping[str, Any] = call.field.arguments
    try:
        entrypoint = CHAINLET.validate_python(arguments.get("entrypoint"))
        others = CHAINLETS.validate_python(arguments.get("dependencies") or [])
    except ValidationError:
        raise QueryError(
            "A chainlet has a name, and an oracle with model_name and s3_key."
        ) from None
    found: list[Chainlet] = []
    for given in (entrypoint, *others):
        transfer = transfer_id_of(given.oracle.s3_key)
        content_hash = await call.gateway.transfers.content_hash(call.key.id, transfer)
        found.append(Chainlet(given.name, given.oracle.model_name, content_hash))
    return found


def _chain(call: Call, model: Model) -> dict[str, Any]:
    if model.kind != "chain":
        raise NotFound(f"{model.name} is no chain.")
    return {"id": model.id, "name": model.name, "hostname": hostname(call, model), "team": TEAM}


async def _chainlet(call: Call, name: str, found: Deployment, entrypoint: bool) -> dict[str, Any]:
    known = version(call, *await call.gateway.management.deployment(found.model_id, found.id))
    return {
        "id": found.id,
        "name": name,
        "is_entrypoint": entrypoint,
        "oracle": known["oracle"],
        "oracle_version": known,
    }

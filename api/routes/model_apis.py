"""The Model APIs on the bare host: `model` in the body picks the deployment."""

from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from api import body as bodies
from api.addressing import Addressed
from api.dialects import names
from api.dialects.errors import FORMS, ROUTES
from api.gateway import authenticate, gateway_of
from api.problems import Problem
from api.routes import background
from api.routes.management_schemas import ModelView
from api.upstream.proxy import proxied
from deployments.registry import verbs as registry
from deployments.registry.records import no_model
from deployments.registry.resolver import Target
from tasks.errors import NotFound
from tasks.outside_text import utf8

router = APIRouter(tags=["model APIs"])
PRODUCTION = Target()


@router.get("/v1/models")
async def models(request: Request) -> dict[str, object]:
    """Every model, as the OpenAI API lists them; for a key that may deploy, also as the management API does."""
    key = await authenticate(request)
    gateway = gateway_of(request)
    known_ids = await gateway.store.run(registry.model_ids())
    mine = {
        name
        for name, model_id in known_ids.items()
        if not key.models or {name, model_id} & set(key.models)
    }
    served = await gateway.resolver.served_names()
    further = [name for name, of in served.items() if len(of) == 1 and mine.issuperset(of)]
    listed = [_listed(name) | {"model_id": of} for name, of in known_ids.items() if name in mine]
    listed += map(_listed, further)
    if not key.may("deploy"):
        return {"object": "list", "data": listed}
    known = await gateway.management.models()
    return {"object": "list", "data": listed, "models": [ModelView.of(*entry) for entry in known]}


async def model(request: Request, model: str) -> dict[str, object]:
    """One model, by its name, its id, or a further name that it serves; for a key that may deploy, also as the management API has it.

    Raises NotFound, also for a model that a restricted key may not call.
    """
    key, gateway = await authenticate(request), gateway_of(request)
    named = await gateway.resolver.named(model)
    found, deployments = await gateway.management.model(named.reference)
    if key.models and not {found.name, found.id} & set(key.models):
        raise NotFound(no_model(model))
    view = ModelView.of(found, deployments).model_dump() if key.may("deploy") else {}
    return {**_listed(model), **view}


async def model_api(request: Request) -> Response:
    """Passes the call on to the model that the body names; a response in the background is queued."""
    key = await authenticate(request)
    body = await bodies.read(request, gateway_of(request).settings.max_model_api_body_bytes)
    body, model = await _addressed(request, body)
    request.scope["state"]["addressed"] = Addressed(
        model, prefix=f"/models/{quote(model, '', errors='replace')}"
    )
    if asked := background.asked_for(request, body):
        return await background.submitted(request, key, asked, PRODUCTION)
    return await proxied(request, PRODUCTION, request.scope["path"], body)


async def _addressed(request: Request, body: bytes) -> tuple[bytes, str]:
    """The body with the name that its server is to hear, and the model that it is for. Raises Problem and NotFound."""
    found = await names.model_in(request, body)
    if not found.name:
        message = "model: give the name or id of a model."
        raise Problem(400, "client_error", message, more={"param": "model"})
    named = await gateway_of(request).resolver.named(utf8(found.name))
    return found.renamed(body, named.heard), named.reference


def _listed(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "kingpost"}


_SCHEMA = {
    "type": "object",
    "required": ["model"],
    "properties": {"model": {"type": "string", "minLength": 1}},
}


def _documented(kind: str) -> dict[str, object]:
    return {"requestBody": {"required": True, "content": {kind: {"schema": _SCHEMA}}}}


router.get("/v1/models/{model}")(model)
# Names with a slash, such as `org/model-7b`. No route of the management API comes after it.
slashed = APIRouter()
slashed.get("/v1/models/{model:path}", include_in_schema=False)(model)
for _method in ROUTES:
    _kind = "multipart/form-data" if _method in FORMS else "application/json"
    router.post(f"/v1/{_method}", openapi_extra=_documented(_kind))(model_api)

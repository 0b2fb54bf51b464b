"""The Model APIs on the bare host: `model` in the body picks the deployment."""

from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from api import body as bodies
from api.addressing import Addressed
from api.gateway import authenticate, gateway_of
from api.problems import Problem
from api.routes.management_schemas import ModelView
from api.top_level import Reader
from api.upstream.proxy import proxied
from deployments.registry import verbs as registry
from deployments.registry.resolver import Target
from tasks.outside_text import utf8

router = APIRouter(tags=["model APIs"])
METHODS = ("chat/completions", "completions", "embeddings", "messages", "responses")
PRODUCTION = Target()


@router.get("/v1/models")
async def models(request: Request) -> dict[str, object]:
    """Every model, as the OpenAI API lists them; for a key that may deploy, also as the management API does."""
    key = await authenticate(request)
    gateway = gateway_of(request)
    names = await gateway.store.run(registry.model_ids())
    listed = [
        {"id": name, "object": "model", "created": 0, "owned_by": "kingpost"}
        for name, model_id in names.items()
        if not key.models or {name, model_id} & set(key.models)
    ]
    if not key.may("deploy"):
        return {"object": "list", "data": listed}
    known = await gateway.management.models()
    return {"object": "list", "data": listed, "models": [ModelView.of(*entry) for entry in known]}


async def model_api(request: Request) -> Response:
    """Passes the call on to the model that the body names."""
    await authenticate(request)
    body = await bodies.read(request, gateway_of(request).settings.max_model_api_body_bytes)
    model = await _model_of(body)
    request.scope["state"]["addressed"] = Addressed(
        model, prefix=f"/models/{quote(model, '', errors='replace')}"
    )
    return await proxied(request, PRODUCTION, request.scope["path"], body)


async def _model_of(body: bytes) -> str:
    model = await Reader(bodies.as_utf8(body)).text_of("model")
    if not isinstance(model, str) or not model:
        raise Problem(400, "client_error", "model: give the name or id of a model.")
    return utf8(model)


_SCHEMA = {
    "type": "object",
    "required": ["model"],
    "properties": {"model": {"type": "string", "minLength": 1}},
}
_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": _SCHEMA}}}}

for _method in METHODS:
    router.post(f"/v1/{_method}", openapi_extra=_BODY)(model_api)

"""Calls that do not wait in the queue: sync predict, routes of the model's own server, wake."""

from fastapi import APIRouter, Request, Response

from api import body as bodies
from api.dialects import names
from api.dialects.errors import ROUTES
from api.gateway import authenticate, deployment_for, gateway_of
from api.problems import Problem
from api.routes.target import TargetOf
from api.targets import TARGETS
from api.upstream.proxy import PREDICT, proxied
from api.upstream.waiting import WaitingCall
from deployments.registry import verbs as registry
from deployments.registry.resolver import Target, heard_by
from tasks.store import verbs

router = APIRouter(tags=["sync"])
WAKE_MS = 60_000  # how long a deployment that was woken keeps a replica without a call
MODEL_ROUTES = frozenset(f"v1/{route}" for route in ROUTES)
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]


async def predict(request: Request, target: TargetOf) -> Response:
    """Runs the model and answers with its output; the body is handed over as it is."""
    return await proxied(request, target, PREDICT)


async def sync_route(request: Request, target: TargetOf, route: str) -> Response:
    """Any route of the model's own server, any method, streamed both ways.

    On the routes of the Model APIs `model` in the body becomes the name that the server hears, as on the bare /v1.
    """
    body = await _renamed(request, target) if route in MODEL_ROUTES else None
    return await proxied(request, target, f"/{route}", body)


async def _renamed(request: Request, target: Target) -> bytes | None:
    """The body with the name that the server serves; None if it passes as it is, unread. Raises Problem and NotFound."""
    key, gateway = await authenticate(request), gateway_of(request)
    deployment = await deployment_for(request, key, target)
    cap = gateway.settings.max_model_api_body_bytes
    may = request.method == "POST" and bool(deployment.served_names)
    if not may or not names.can_be_read(request, cap):
        return None
    body = await bodies.read(request, cap)
    try:
        found = await names.model_in(request, body)
    except Problem:
        return body  # the server says what is wrong with it
    return found.renamed(body, heard_by(deployment, found.name))


async def wake(request: Request, target: TargetOf) -> Response:
    """Starts a replica of a sleeping deployment; answers at once. Raises Problem for one that is not active."""
    key = await authenticate(request)
    deployment = await deployment_for(request, key, target)
    gateway = gateway_of(request)
    await WaitingCall.of(gateway, deployment, key).check_active()
    ids = (deployment.id, deployment.leader) if deployment.leader else (deployment.id,)
    await gateway.store.run(registry.forgive(*ids))
    await gateway.store.run(registry.demand(deployment.id, WAKE_MS))
    await gateway.store.run(verbs.wake(deployment.id))
    return Response(b"{}", 202, media_type="application/json")


for _prefix in TARGETS:
    router.post(f"{_prefix}/predict")(predict)
    router.post(f"{_prefix}/run_remote")(predict)
    router.post(f"{_prefix}/wake", status_code=202)(wake)
    router.api_route(f"{_prefix}/sync/{{route:path}}", methods=METHODS, include_in_schema=False)(
        sync_route
    )

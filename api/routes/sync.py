"""Calls that do not wait in the queue: sync predict, routes of the model's own server, wake."""

from fastapi import APIRouter, Request, Response

from api.gateway import authenticate, deployment_for, gateway_of
from api.routes.target import TargetOf
from api.targets import TARGETS
from api.upstream.proxy import PREDICT, proxied
from api.upstream.waiting import WaitingCall
from deployments.registry import verbs as registry
from tasks.store import verbs

router = APIRouter(tags=["sync"])
WAKE_MS = 60_000  # how long a deployment that was woken keeps a replica without a call
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]


async def predict(request: Request, target: TargetOf) -> Response:
    """Runs the model and answers with its output; the body is handed over as it is."""
    return await proxied(request, target, PREDICT)


async def sync_route(request: Request, target: TargetOf, route: str) -> Response:
    """Any route of the model's own server, any method, streamed both ways."""
    return await proxied(request, target, f"/{route}")


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

"""Health of the API process itself, for whoever restarts it or sends it traffic."""

import asyncio

from fastapi import APIRouter, Request

from api.gateway import gateway_of
from tasks.store import unavailable

READY_SECONDS = 2.0  # whoever probes gives up soon, and a store that needs longer serves nobody

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "live"}


@router.get("/ready")
async def ready(request: Request) -> dict[str, str]:
    """The store answers too; 503 otherwise."""
    with unavailable():
        async with asyncio.timeout(READY_SECONDS):
            await gateway_of(request).store.redis.ping()  # type: ignore[misc]
    return {"status": "ready"}

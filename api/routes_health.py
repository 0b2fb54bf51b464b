"""Health of the API process itself, for whoever restarts it or sends it traffic."""

from fastapi import APIRouter, Request

from api.gateway import gateway_of
from tasks.store import unavailable

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "live"}


@router.get("/ready")
async def ready(request: Request) -> dict[str, str]:
    """The store answers too; 503 otherwise."""
    with unavailable():
        await gateway_of(request).store.redis.ping()  # type: ignore[misc]
    return {"status": "ready"}

"""Health of the API process, for supervisors and load balancers."""

import asyncio

from fastapi import APIRouter, Request

from api import unknown_paths
from api.gateway import gateway_of
from api.problems import Problem
from tasks.process.descriptors import SHORT, left
from tasks.store.job_store import unavailable

RETRY_SECONDS = "5"
NO_DESCRIPTORS = (
    "The API has no more file descriptors to spare: raise the limit (`ulimit -n`), or lower "
    "KINGPOST_MAX_CONNECTIONS."
)
READY_SECONDS = 2.0  # whoever probes gives up soon, and a store that needs longer serves nobody

router = APIRouter(prefix="/health", tags=["health"])
root = APIRouter()


@root.get("/", include_in_schema=False)
@root.head("/", include_in_schema=False)
async def about() -> dict[str, str]:
    """Says what this service is and where its documentation is."""
    return {
        "service": "Kingpost",
        "docs": "/docs",
        "openapi": "/openapi.json",
        "health": "/health",
        "calls": unknown_paths.FORM,
    }


@router.get("/live")
@router.head("/live")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "live"}


@router.get("")
@router.head("")
@router.get("/ready")
@router.head("/ready")
async def ready(request: Request) -> dict[str, str]:
    """Ready: the store answers and still has its data, and file descriptors are left. Else 503 with the reason."""
    if left() <= SHORT:
        raise _not_ready(NO_DESCRIPTORS)
    with unavailable():
        async with asyncio.timeout(READY_SECONDS):
            trouble = await gateway_of(request).epoch.trouble()
    if trouble:
        raise _not_ready(trouble)
    return {"status": "ready"}


def _not_ready(why: str) -> Problem:
    return Problem(503, "internal_baseten_error", why, {"Retry-After": RETRY_SECONDS})

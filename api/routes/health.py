"""Health of the API process, for supervisors and load balancers."""

from fastapi import APIRouter, Request
from pydantic import BaseModel

from api import unknown_paths
from api.gateway import gateway_of
from api.observing import readiness
from api.observing.readiness import Part, State
from api.problems import RETRY_STORE, Problem

RETRY_SECONDS = "5"

router = APIRouter(prefix="/health", tags=["health"])
root = APIRouter()


class ReadyPart(BaseModel):
    """A part of the service. Without a `needed` one no call can be served; `said` says why it is not ok and what to do."""

    name: str
    state: State
    needed: bool
    said: str

    @classmethod
    def of(cls, part: Part) -> "ReadyPart":
        """The part as JSON."""
        return cls(name=part.name, state=part.state, needed=part.needed, said=part.said)


class Ready(BaseModel):
    """The service is ready. Parts that are not needed may fail all the same."""

    status: str = "ready"
    parts: list[ReadyPart]


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
async def ready(request: Request) -> Ready:
    """Ready: the store answers, runs scripts and still has its data, and file descriptors are left. Else 503 with the reason.

    `parts` names each part and how it is, in the answer with the status 503 as well.
    """
    found = await readiness.read(gateway_of(request))
    parts = [ReadyPart.of(part) for part in found.parts]
    if found.missing is None:
        return Ready(parts=parts)
    wait = RETRY_STORE if found.missing.name == "store" else RETRY_SECONDS
    more = {"parts": [part.model_dump() for part in parts]}
    said = found.missing.said
    raise Problem(503, "internal_baseten_error", said, {"Retry-After": wait}, more)

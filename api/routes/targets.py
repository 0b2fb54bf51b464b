"""The four ways to name a deployment in a path, as Baseten has them."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from deployments.registry.resolver import Target

TARGETS = (
    "/production",
    "/development",
    "/environments/{environment}",
    "/deployment/{deployment_id}",
)


async def target_of(connection: HTTPConnection) -> Target:
    """The target of the matched path. It is async so that FastAPI does not run it in a thread."""
    names = connection.path_params
    if "deployment_id" in names:
        return Target(None, names["deployment_id"])
    if "environment" in names:
        return Target(names["environment"])
    return Target(
        "development" if connection.scope["path"].startswith("/development/") else "production"
    )


TargetOf = Annotated[Target, Depends(target_of)]

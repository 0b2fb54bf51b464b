"""The four ways to name a deployment in a path, as Baseten has them."""

from typing import Annotated

from fastapi import Depends, Request

from deployments.resolver import Target

TARGETS = (
    "/production",
    "/development",
    "/environments/{environment}",
    "/deployment/{deployment_id}",
)


async def target_of(request: Request) -> Target:
    """The target of the path that was matched. Async only so that the framework does not send it to a thread."""
    names = request.path_params
    if "deployment_id" in names:
        return Target(None, names["deployment_id"])
    if "environment" in names:
        return Target(names["environment"])
    return Target(
        "development" if request.scope["path"].startswith("/development/") else "production"
    )


TargetOf = Annotated[Target, Depends(target_of)]

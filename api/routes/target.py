"""The target of a request, as a dependency of its route."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from api.targets import target
from deployments.registry.resolver import Target


async def target_of(connection: HTTPConnection) -> Target:
    """The target of the matched path. It is async so that FastAPI does not run it in a thread."""
    return target(connection.scope["path"], connection.path_params)


TargetOf = Annotated[Target, Depends(target_of)]

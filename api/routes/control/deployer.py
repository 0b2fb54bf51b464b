"""What the routes that deploy share: the key that they need, and the form of their bodies."""

from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, TypeAdapter

from api import body as bodies
from api.gateway import authenticate, gateway_of
from deployments.registry.management import Management
from tasks.api_keys import ApiKey

B = TypeVar("B", bound=BaseModel)
SMALL_BODY = 65_536  # bytes


async def deployer_of(request: Request) -> ApiKey:
    """The caller's key. Raises Problem 401 or 403 for one that may not deploy."""
    return await authenticate(request, "deploy")


async def _management(request: Request) -> Management:
    return gateway_of(request).management


Deployer = Annotated[ApiKey, Depends(deployer_of)]
Manage = Annotated[Management, Depends(_management)]


async def read_body(request: Request, kind: type[B]) -> B:
    """The JSON body; an empty one has the defaults. Raises Problem 400 and 413."""
    return bodies.parse(TypeAdapter(kind), await bodies.read(request, SMALL_BODY) or b"{}")


def body_of(kind: type[BaseModel], required: bool = True) -> dict[str, Any]:
    """The part of the OpenAPI document for a body that a route reads itself."""
    content = {"application/json": {"schema": kind.model_json_schema()}}
    return {"requestBody": {"required": required, "content": content}}

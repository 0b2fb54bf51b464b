"""The pages that try a model: by a form or JSON, as a chat, and the code that does the same."""

import json
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field, TypeAdapter
from starlette.responses import JSONResponse, Response

from api import body as bodies
from api.console.code import Called, How, calls
from api.console.jobs import given_again, latest_input
from api.console.rendering import MOST_SHOWN, SECURITY, page, pretty
from api.console.routing import PageRoute
from api.console.sessions import Viewing, check_not_forged
from api.console.versions import one_model
from api.gateway import gateway_of
from api.problems import Problem
from api.routes.async_requests import job_and_status
from deployments.packages.contents import Contents
from deployments.registry.records import Deployment
from tasks.errors import PayloadUnavailable

router = APIRouter(prefix="/ui", include_in_schema=False, route_class=PageRoute)
NO_VERSION = "Nothing of this model is deployed, so there is nothing to try; push a version."


class Asked(BaseModel):
    """The call whose code is wanted. `text` is the input as it stands in the page."""

    name: Annotated[str, Field(max_length=200)]
    deployment: Annotated[str, Field(pattern=r"^[0-9a-z]{1,40}$")]
    how: How
    level: Annotated[int, Field(ge=0, le=2)]
    text: Annotated[str, Field(max_length=MOST_SHOWN)]


ASKED = TypeAdapter(Asked)


@router.get("/models/{model}/try")
async def playground(
    request: Request, viewer: Viewing, model: str, again: Annotated[str, Query(max_length=64)] = ""
) -> Response:
    """Runs a model by hand. `again` is the id of an earlier request, whose input, deployment and level the form then has."""
    row = await one_model(request, viewer, model)
    if not row.deployments:
        raise Problem(404, "client_error", NO_VERSION)
    contents = await _contents(request, row.deployments[0].deployment)
    job = (await job_and_status(request, again, viewer.key))[0] if again else None
    example = pretty(json.dumps(contents.example)) if contents.example is not None else ""
    given = await (given_again(request, again) if again else latest_input(request, viewer, row.model.id))  # fmt: skip
    return await page(
        request, "playground.html", viewer, row=row, chats=contents.chats,
        given=given or example or "{}", example=example, again=job,
    )  # fmt: skip


@router.get("/models/{model}/chat")
async def chat(request: Request, viewer: Viewing, model: str) -> Response:
    """A conversation with a model that answers chat completions. It is kept in the page alone."""
    row = await one_model(request, viewer, model)
    if not row.deployments:
        raise Problem(404, "client_error", NO_VERSION)
    return await page(request, "chat.html", viewer, row=row)


@router.post("/code")
async def code(request: Request, viewer: Viewing) -> Response:
    """The code of a call, by tool (`calls`). It calls nothing."""
    check_not_forged(request, viewer, request.method)
    # In JSON a character may have six bytes (\uXXXX), and the other members need some.
    asked = bodies.parse(ASKED, await bodies.read(request, 8 * MOST_SHOWN))
    base = f"{request.url.scheme}://{request.url.netloc}"
    called = Called(base, asked.name, asked.deployment, asked.text, asked.how, asked.level)
    return JSONResponse(dict(calls(called)), headers=SECURITY)


async def _contents(request: Request, deployment: Deployment) -> Contents:
    try:
        return await gateway_of(request).packages.of(deployment)
    except PayloadUnavailable:
        return Contents(complete=False)  # the page is of use without its example

"""The page of a model: its versions, and what can be done with them."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.console.overview import ModelRow, model_rows
from api.console.rendering import page
from api.console.routing import PageRoute
from api.console.sessions import Viewer, Viewing
from api.gateway import gateway_of
from tasks.errors import NotFound

router = APIRouter(prefix="/ui/models/{model}", include_in_schema=False, route_class=PageRoute)
MOST_VERSIONS = 30  # of a model on its page


@router.get("")
async def model(request: Request, viewer: Viewing, model: str) -> Response:
    """One model: its deployments, environments, replicas, and what can be done with them."""
    row = await one_model(request, viewer, model)
    return page(request, "model.html", viewer, row=row, MOST=MOST_VERSIONS)


async def one_model(request: Request, viewer: Viewer, model: str) -> ModelRow:
    """A model by its name or id. Raises NotFound for one that the viewer's key may not use, too."""
    rows = await model_rows(gateway_of(request), viewer, model)
    if not rows:
        raise NotFound(f"There is no model {model} that this key may use.")
    return rows[0]

"""The GraphQL of the `truss` command: the operations that it needs to push, watch, call and list models."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, TypeAdapter

from api import body as bodies
from api.problems import of_error
from api.routes.control.deployer import Deployer
from api.routes.truss import chains, models, pushing, watching
from api.routes.truss.call import Answer, Call
from api.routes.truss.query import QueryError, QueryField, project
from tasks.errors import KingpostError, NotFound

# Of a request. The largest is a patch: it has the changed files, and the names of all files twice.
MOST_BYTES = 16 << 20
MOST_FIELDS = 20  # in one request
SHOWN = 60  # characters of a name that is not known


class QueryBody(BaseModel):
    """POST /graphql/."""

    query: Annotated[str, Field(max_length=MOST_BYTES)]
    variables: dict[str, Any] | None = None


ANSWERS: Mapping[tuple[str, str], Answer] = {
    ("query", "teams"): models.teams,
    ("query", "organization"): models.organization,
    ("query", "user"): models.user,
    ("query", "models"): models.models,
    ("query", "model"): models.model,
    ("query", "model_version"): models.model_version,
    ("query", "truss_watch_state"): watching.watch_state,
    ("query", "truss_validation"): pushing.validation,
    ("query", "model_s3_upload_credentials"): pushing.model_credentials,
    ("query", "chains"): chains.chains,
    ("query", "chain"): chains.chain,
    ("query", "chain_deployment"): chains.chain_deployment,
    ("query", "chain_s3_upload_credentials"): pushing.chain_credentials,
    ("mutation", "create_model_from_truss"): pushing.create_model,
    ("mutation", "create_model_version_from_truss"): pushing.create_version,
    ("mutation", "deploy_draft_truss"): pushing.create_draft,
    ("mutation", "stage_patch_for_draft_truss"): watching.stage_patch,
    ("mutation", "sync_draft_truss"): watching.sync,
    ("mutation", "deploy_chain_atomic"): chains.deploy,
}
# Answered with all fields, because the client uses one that it does not ask for.
WHOLE = ("model_s3_upload_credentials",)
QUERY = TypeAdapter(QueryBody)
router = APIRouter(include_in_schema=False)


@router.post("/graphql/")
@router.post("/graphql")
async def graphql(request: Request, key: Deployer) -> JSONResponse:
    """Answers the operations of `truss` 0.18. Any other is an error that names what there is."""
    asked = bodies.parse(QUERY, await bodies.read(request, MOST_BYTES))
    try:
        kind, fields = await asyncio.to_thread(_read, asked)
        if len(fields) > MOST_FIELDS:
            raise QueryError(f"Ask for {MOST_FIELDS} fields at most.")
        data = {}
        for field in fields:
            call = Call(request, key, field)
            data[field.key] = _shaped(await _answer(kind, field)(call), field)
    except QueryError as error:
        return _failed(str(error), error.code)
    except NotFound as error:
        return _failed(str(error), "RESOURCE_NOT_FOUND")
    except KingpostError as error:
        problem = of_error(error)
        if problem.status >= 500:
            raise
        return _failed(problem.message, problem.code.upper())
    return JSONResponse({"data": data})


def _read(asked: QueryBody) -> tuple[str, tuple[QueryField, ...]]:
    from api.routes.truss.document import read  # its library takes half a second to import

    return read(asked.query, asked.variables or {})


def _answer(kind: str, field: QueryField) -> Answer:
    answer = ANSWERS.get((kind, field.name))
    if answer is None:
        known = ", ".join(name for of_kind, name in ANSWERS if of_kind == kind)
        raise QueryError(
            f"Kingpost has no {kind} {field.name[:SHOWN]!r}; it knows {known or 'none'}."
        )
    return answer


def _shaped(value: Any, field: QueryField) -> Any:
    return value if field.name in WHOLE else project(value, field)


def _failed(message: str, code: str) -> JSONResponse:
    """An error as GraphQL says it: with the status 200."""
    return JSONResponse(
        {"data": None, "errors": [{"message": message, "extensions": {"code": code}}]}
    )

"""Completes the OpenAPI document with what FastAPI cannot see: the bodies that we read ourselves, and the errors."""

import asyncio
import copy
import json
from pathlib import Path
from typing import Any, Literal, cast

import fastapi_offline
from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse
from pydantic import BaseModel, TypeAdapter

from api.dialects.errors import Dialect, dialect_of
from api.routes.control.keys import KeyChangeBody, NewKeyBody
from api.routes.control.webhooks import RedriveAllBody, RedriveBody
from api.routes.jobs.schemas import BulkBody, MoveBody, MoveRequest, RetryBody
from api.routes.listening import TestBody
from api.routes.management_schemas import (
    AutoscalingBody,
    EnvironmentBody,
    NewEnvironmentBody,
)
from api.schemas import AsyncPredictBatch, AsyncPredictRequest
from api.webhook_urls import LONGEST, PATTERN

Schema = dict[str, Any]
REF = "#/components/schemas/{model}"
SECURITY = {"type": "apiKey", "in": "header", "name": "Authorization", "description": "Api-Key KEY"}
EVERYWHERE = (400, 401, 403, 404, 413, 415, 503)  # statuses that any route may answer
MORE = {  # further ones, by the last segment of the path
    "async_predict": (409, 429),
    "async_predict_batch": (409, 429),
    "async_run_remote": (409, 429),
    "predict": (429, 502, 504),
    "run_remote": (429, 502, 504),
    "async_queue_status": (429,),
    "result": (409, 410, 429),
    "events": (429,),
    "redeliver": (409,),
    "retry": (409, 410, 429),
    "cancel": (409,),
    "webhook_secrets": (409,),
    "move": (409, 410),
    "purge": (409,),
    "{request_id}": (409, 410, 429),
    "{model}": (409,),
    "{which}": (409,),
    "batches": (429,),
    "{response_id}": (410, 429, 502),
    "input": (410, 429),
    "listen": (429,),
    "test": (429,),
}
MODEL_ANSWERS = ("predict", "run_remote")
NAMES = {"environment": "The environment's name.", "deployment_id": "The deployment's id."}
NAME = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
WEBHOOK = {"type": "string", "pattern": PATTERN, "maxLength": LONGEST}

DOCUMENT = "/openapi.json"
# The scripts and styles of both pages come from a package, so they work without internet.
FILES = "/docs/files"
CONTENT_TYPES = {".js": "text/javascript", ".css": "text/css", ".png": "image/png"}
VENDORED = {
    path.name: (path, CONTENT_TYPES[path.suffix])
    for path in sorted((Path(fastapi_offline.__file__).parent / "static").iterdir())
    if path.suffix in CONTENT_TYPES
}
# Rendered once, because anybody may ask for them as often as they like.
PAGES = {
    "/docs": bytes(
        get_swagger_ui_html(
            openapi_url=DOCUMENT,
            title="Kingpost",
            swagger_js_url=f"{FILES}/swagger-ui-bundle.js",
            swagger_css_url=f"{FILES}/swagger-ui.css",
            swagger_favicon_url=f"{FILES}/favicon.png",
        ).body
    ),
    "/redoc": bytes(
        get_redoc_html(
            openapi_url=DOCUMENT,
            title="Kingpost",
            redoc_js_url=f"{FILES}/redoc.standalone.js",
            redoc_favicon_url=f"{FILES}/favicon.png",
            with_google_fonts=False,
        ).body
    ),
}
# Both pages start their script inline. They may load from and call only this service, and no page may frame them.
PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; script-src 'unsafe-inline' 'self'; worker-src blob:; "
    "style-src 'unsafe-inline' 'self'; img-src 'self' data:",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}
FILE_HEADERS = {"cache-control": "public, max-age=86400"}


class ErrorResponse(BaseModel):
    """Every error of the gateway."""

    error: str
    error_code: str


class OpenAIError(BaseModel):
    """What OpenAI's clients read."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIErrorResponse(BaseModel):
    """Every error of the gateway on the routes of OpenAI's API."""

    error: OpenAIError


class AnthropicError(BaseModel):
    """What Anthropic's clients read."""

    type: str
    message: str


class AnthropicErrorResponse(BaseModel):
    """Every error of the gateway on the routes of Anthropic's API."""

    type: Literal["error"]
    error: AnthropicError


ERRORS: dict[Dialect, type[BaseModel]] = {
    "baseten": ErrorResponse,
    "openai": OpenAIErrorResponse,
    "anthropic": AnthropicErrorResponse,
}
ANY_JSON: Schema = {}
BODIES: dict[str, Any] = {  # by the last segment of the path, or its last two
    "async_predict": AsyncPredictRequest,
    "async_predict_batch": AsyncPredictBatch,
    "async_run_remote": dict[str, Any],
    "predict": ANY_JSON,
    "run_remote": ANY_JSON,
    "{request_id}": MoveRequest,
    "{request_id}/retry": RetryBody,
    "autoscaling_settings": AutoscalingBody,
    "environments": NewEnvironmentBody,
    "{name}": EnvironmentBody,
    "jobs/cancel": BulkBody,
    "jobs/retry": BulkBody,
    "jobs/purge": BulkBody,
    "jobs/move": MoveBody,
    "keys": NewKeyBody,
    "{key_id}": KeyChangeBody,
    "redrive": RedriveBody,
    "redrive_all": RedriveAllBody,
    "webhooks/test": TestBody,
}


def install(app: FastAPI) -> None:
    """Makes `app.openapi()` the whole document."""

    def document() -> Schema:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(
                get_openapi(
                    title=app.title,
                    version=app.version,
                    description=app.description,
                    routes=app.routes,
                )
            )
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
    made = asyncio.Lock()
    bytes_of: list[bytes] = []

    async def as_json(_: Request) -> Response:
        async with made:
            if not bytes_of:
                bytes_of.append(json.dumps(await asyncio.to_thread(document)).encode())
        return Response(bytes_of[0], media_type="application/json")

    async def pages(request: Request) -> Response:
        return Response(PAGES[request.scope["path"]], headers=PAGE_HEADERS, media_type="text/html")

    async def file(request: Request) -> Response:
        found = VENDORED.get(request.path_params["name"])
        if found is None:
            return Response("There is no such file.", 404)
        return FileResponse(found[0], media_type=found[1], headers=FILE_HEADERS)

    app.add_route(DOCUMENT, as_json, include_in_schema=False)
    app.add_route(f"{FILES}/{{name}}", file, include_in_schema=False)
    for path in PAGES:
        app.add_route(path, pages, include_in_schema=False)


def _complete(document: Schema) -> Schema:
    components = document.setdefault("components", {})
    schemas = cast(Schema, components.setdefault("schemas", {}))
    _hoist(document["paths"], schemas)
    for kind in ERRORS.values():
        schemas[kind.__name__] = _schema_alone(kind, schemas)
    components["securitySchemes"] = {"key": SECURITY}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if not path.startswith("/health"):
                _operation(path, method, operation, schemas)
    document["paths"] |= _behind_a_name(document["paths"])
    webhook = schemas["AsyncPredictRequest"]["properties"]["webhook_endpoint"]
    webhook["anyOf"] = [WEBHOOK, {"type": "null"}]
    return document


def _hoist(node: Any, schemas: Schema) -> None:
    """Moves every `$defs` of pydantic's schemas to `schemas`. A `$ref` counts from the root of the document, so Redoc finds no others."""
    if isinstance(node, list):
        for each in cast("list[Any]", node):
            _hoist(each, schemas)
    if not isinstance(node, dict):
        return
    fields = cast(Schema, node)
    moved: Schema = fields.pop("$defs", {})
    schemas.update(moved)
    named = str(fields.get("$ref", ""))
    if named.startswith("#/$defs/"):
        fields["$ref"] = REF.format(model=named.rpartition("/")[2])
    for each in [*fields.values(), *moved.values()]:
        _hoist(each, schemas)


def _behind_a_name(paths: Schema) -> Schema:
    """The calls of production as most clients make them: behind the name of a model, or of a chain."""
    found: Schema = {}
    for path, operations in paths.items():
        if path.startswith("/production/"):
            kind = "chain" if path.endswith("run_remote") else "model"
            made = copy.deepcopy(operations)
            for operation in made.values():
                operation["operationId"] += f"_of_{kind}"
                name = {
                    "name": kind,
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string", "pattern": NAME},
                }
                name["description"] = f"The name or the id of the {kind}."
                operation["parameters"] = [name, *operation.get("parameters", [])]
            found[f"/{kind}s/{{{kind}}}{path}"] = made
    return found


def _operation(path: str, method: str, operation: Schema, schemas: Schema) -> None:
    action = path.rsplit("/", 1)[1]
    operation["security"] = [{"key": []}]
    # Where the model answers, its own errors pass through in its own shape.
    ours = {"$ref": REF.format(model=ERRORS[dialect_of(path)].__name__)}
    passed = action in MODEL_ANSWERS or "model APIs" in operation.get("tags", ())
    schema = {} if passed else ours
    content = {"application/json": {"schema": schema}}
    for status in (*EVERYWHERE, *MORE.get(action, ())):
        answer = {"description": "The gateway's error.", "content": content}
        operation["responses"].setdefault(str(status), answer)
    operation["responses"].pop("422", None)  # FastAPI's own; ours are 400
    known = {parameter["name"] for parameter in operation.get("parameters", [])}
    for name, text in NAMES.items():
        if f"{{{name}}}" in path and name not in known:
            parameter = {"name": name, "in": "path", "required": True, "description": text}
            kind = {"type": "string", "pattern": "^[a-z0-9-]{1,40}$"}
            operation.setdefault("parameters", []).append({**parameter, "schema": kind})
    kind = BODIES.get(action, BODIES.get("/".join(path.rsplit("/", 2)[1:])))
    if kind is not None and method in ("post", "patch"):
        body = {"application/json": {"schema": _schema(kind, schemas)}}
        operation["requestBody"] = {
            "required": kind not in (RetryBody, RedriveAllBody),
            "content": body,
        }


def _schema_alone(kind: Any, schemas: Schema) -> Schema:
    """The schema of that type. Those that it refers to go to `schemas`."""
    schema = TypeAdapter(kind).json_schema(ref_template=REF)
    schemas.update(schema.pop("$defs", {}))
    return schema


def _schema(kind: Any, schemas: Schema) -> Schema:
    if kind is ANY_JSON:
        return {}
    schema = _schema_alone(kind, schemas)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        schemas[kind.__name__] = schema
        return {"$ref": REF.format(model=kind.__name__)}
    return schema

"""The routes of the model host for callers: Truss's server contract."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from workers.host.call.answer import AnswerCall, StreamAborted, answer, send_answer, send_reply
from workers.host.call.call import ModelCall, read_call, watch_client
from workers.host.call.slots import CallKind
from workers.host.errors import ClientGone, HostError, ModelNotReady, downstream_error, error_reply
from workers.host.logs import chain_request_id, end_request, request_id
from workers.host.model.methods import V1_METHODS
from workers.host.routes.metrics import metrics_app
from workers.host.routes.private import plain_error, to_response
from workers.host.routes.websocket import WebSocketEndpoint
from workers.host.state import Host, ModelHost
from workers.wire.calls import FILES

MODEL = "/v1/models/{model_name}"  # any name will do
Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(host: ModelHost) -> Starlette:
    """The ASGI application. The model begins to load when it starts."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        host.start_loading()
        followers = [
            asyncio.create_task(follower)
            for follower in (host.follow_environment(), host.follow_health())
        ]
        yield
        for follower in followers:
            follower.cancel()

    return Starlette(
        routes=[*_server_routes(host), *_model_routes(host)],
        exception_handlers={HTTPException: plain_error},
        lifespan=lifespan,
    )


def _model_routes(host: ModelHost) -> list[BaseRoute]:
    endpoint = SyncEndpoint(host, partial(answer, host))
    paths = [f"{MODEL}:predict", f"{MODEL}:predict_binary", "/invocations"]
    routes: list[BaseRoute] = [Route(p, endpoint, methods=["POST"]) for p in [*paths, *V1_METHODS]]
    return [*routes, WebSocketRoute("/v1/websocket", WebSocketEndpoint(host))]


def _server_routes(host: ModelHost) -> list[BaseRoute]:
    routes = ServerRoutes(host)
    return [
        only_get("/", routes.live),
        only_get(MODEL, routes.ready),
        only_get(f"{MODEL}/loaded", routes.loaded),
        only_get(f"{MODEL}/schema", routes.schema),
        only_get("/ping", routes.loaded),
        Mount("/metrics", metrics_app()),
    ]


def only_get(path: str, endpoint: Endpoint) -> Route:
    """A route for GET only."""
    route = Route(path, endpoint)
    route.methods = {"GET"}  # no HEAD, which starlette adds and Truss's server refuses
    return route


class SyncEndpoint:
    """Sync calls over ASGI."""

    def __init__(self, host: Host, answer: AnswerCall) -> None:
        self._host = host
        self._answer = answer
        self._grace = host.package.runtime.cancels_after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call. A client that leaves stops it."""
        named = Headers(scope=scope).get(FILES, "")
        try:
            files, body = await read_call(receive, named, self._host.files_dir)
        except ClientGone:
            return
        except HostError as error:
            await send_reply(error_reply(error), send)
            return
        call = ModelCall(scope, body, CallKind.SYNC, self._grace, files)
        request_id.set(call.headers.get("x-baseten-request-id"))
        chain_request_id.set(call.headers.get("x-baseten-chain-request-id"))
        watcher = asyncio.create_task(watch_client(call, receive))
        try:
            outcome = await self._answer(call)
            await send_answer(outcome, call, send)
        except StreamAborted:
            return  # without the end of the body, which makes the server cut the connection
        finally:
            watcher.cancel()
            await files.remove()
            end_request()


class ServerRoutes:
    """Liveness, readiness and schema."""

    def __init__(self, host: ModelHost) -> None:
        self._host = host

    async def live(self, _: Request) -> Response:
        return JSONResponse(True)

    async def ready(self, _: Request) -> Response:
        return self._readiness(await self._host.is_healthy() if self._loaded() else False)

    async def loaded(self, _: Request) -> Response:
        return self._readiness(self._loaded())

    async def schema(self, _: Request) -> Response:
        methods = self._host.known_methods
        if methods is None:
            return self._readiness(False)
        if methods.schema:
            return JSONResponse(methods.schema.to_json())
        if self._loaded():
            return to_response(downstream_error(404, "No schema found"))
        detail = "Schema not available, please try again later."
        return to_response(downstream_error(503, detail))

    def _loaded(self) -> bool:
        return self._host.state in ("ready", "draining")

    def _readiness(self, ready: bool) -> Response:
        return JSONResponse({}) if ready else to_response(error_reply(ModelNotReady()))

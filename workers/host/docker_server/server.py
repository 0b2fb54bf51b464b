"""A host whose model is any HTTP server (`docker_server`). It maps the known endpoints and passes all other calls on."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from deployments.packages.package import DockerServer, Package
from deployments.pings import Pings
from workers.host.call.answer import Answer
from workers.host.call.call import ModelCall
from workers.host.call.jobs import PREDICT_PATH
from workers.host.call.slots import CallKind, Reservations, Slot, SlotGate
from workers.host.docker_server.child import ServerChild
from workers.host.docker_server.ports import OwnPort, PortTaken, stranger_at
from workers.host.docker_server.redirects import from_root
from workers.host.docker_server.relay import WebSocketRelay
from workers.host.docker_server.upstream import UpstreamError, UpstreamResponse, request
from workers.host.errors import (
    DOWNSTREAM,
    ClientGone,
    ModelNotReady,
    Reply,
    error_headers,
    error_reply,
    json_reply,
)
from workers.host.health import ANSWER_SECONDS, Health
from workers.host.logs import event
from workers.host.model.pipeline import SlottedResponse
from workers.host.routes.app import SyncEndpoint, only_get
from workers.host.routes.private import plain_error, to_response
from workers.host.state import State
from workers.host.traffic import Traffic
from workers.processes.ends import adopt_orphans
from workers.wire.calls import PRIVATE_PREFIX, LoadFailure

PROBE_EVERY = 0.25  # s, while the server starts
DEATH_SHOWS = 0.3  # s, from a broken connection until the end of the server's process is noticed
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class ServerHost:
    """One package whose command serves HTTP. Each job and each sync call with POST takes a slot. Sync calls go first."""

    def __init__(self, package: Package) -> None:
        assert package.docker_server, "made for docker_server packages only"
        self.package = package
        self.server: DockerServer = package.docker_server
        self.gate = SlotGate(package.runtime.predict_concurrency)
        self.reservations = Reservations(self.gate)
        self.traffic = Traffic()
        self.state: State = "loading"
        self.failure: LoadFailure | None = None
        self.files_dir: Path | None = None  # a server of its own gets no paths
        self.liveness = Health(partial(self.probe, self.server.liveness_endpoint))
        self.readiness = Health(partial(self.probe, self.server.readiness_endpoint))
        self.port = self.server.server_port  # `run` replaces it by the port that this copy gets
        self._own_port: OwnPort | None = None
        self._child: ServerChild | None = None

    async def run(self) -> None:
        """Starts the command, and waits until its readiness endpoint answers 2xx at a port on which no other process listens.

        After that it checks every few seconds whether the server is live and ready. It ends only if the start failed.
        """
        loop = asyncio.get_running_loop()
        event("model.loading")
        try:
            self._own_port = OwnPort.for_server(self.server)
        except PortTaken as error:
            self._fail(str(error))
            return
        self.port = self._own_port.number
        adopt_orphans()  # so that a server which becomes a daemon is still known as the command's
        self._child = ServerChild(
            self.package, self.port, lambda code: loop.call_soon_threadsafe(self._ended, code)
        )
        ready = self.server.readiness_endpoint
        while self.state == "loading" and not await self.probe(ready):  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(PROBE_EVERY)
        stranger = await asyncio.to_thread(stranger_at, self.port)
        if self.state != "loading":
            return
        if stranger:
            self._fail(f"At port {self.port} {stranger} answers, and not the start_command.")
            return
        self.state = "ready"
        event("model.loaded", port=self.port)
        await asyncio.gather(self.liveness.run(), self.readiness.run())

    def _fail(self, message: str, traceback: str = "") -> None:
        self.failure = LoadFailure(message, traceback)
        self.state = "failed"
        event("model.not_loaded", "error", message=message)

    def drain(self) -> None:
        """Sets the state to say that this process is about to end."""
        if self.state != "failed":
            self.state = "draining"

    def stop(self) -> None:
        """Ends the command and all that it started."""
        if self._child:
            self._child.stop()
        if self._own_port:
            self._own_port.close()

    async def probe(self, endpoint: str) -> bool:
        """True if a GET of this endpoint answers 2xx in time."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                response = await request(self.port, "GET", endpoint, [])
        except (UpstreamError, TimeoutError):
            return False
        response.close()
        return 200 <= response.status < 300

    async def answer(self, call: ModelCall) -> Answer:
        """Passes the call on. A body of known length is a Reply, any other a stream."""
        if self.state not in ("ready", "draining"):
            return error_reply(ModelNotReady())
        slot: Slot | None = None
        try:
            if call.kind is CallKind.SYNC and call.scope["method"] == "POST":
                slot = await call.cancellable(self.gate.acquire(CallKind.SYNC), "slot")
            asked = await call.cancellable(self._ask(call), "the server")
            if isinstance(asked, SlottedResponse):  # its slot goes back when the stream ends
                asked.slot, slot = slot, None
            return asked
        except ClientGone as error:
            return error_reply(error)
        except UpstreamError as error:
            # if the server died, `_ended` ends this host before the answer
            await asyncio.sleep(DEATH_SHOWS)
            event("server.unreachable", "error", message=str(error))
            reply = json_reply(502, {"error": str(error)})
            return Reply(502, reply.body, reply.content_type, error_headers(DOWNSTREAM))
        finally:
            if slot:
                slot.release()

    async def _ask(self, call: ModelCall) -> Answer:
        scope = call.scope
        headers = [pair for pair in scope["headers"] if not pair[0].startswith(PRIVATE_PREFIX)]
        target, port = self.target(scope), self.port
        response = await request(port, scope["method"], target, headers, call.body)
        response.headers = from_root(response.headers, port, target)
        if not response.has_length or scope["method"] == "HEAD":
            return SlottedResponse(_streaming(response), None)
        try:
            return _reply(response, await response.read())
        finally:
            response.close()

    def target(self, scope: Scope) -> str:
        """The path and query at the server. Predict is mapped; any other path is the client's."""
        path = scope["path"]
        predicts = path.startswith("/v1/models/") and path.endswith((":predict", ":predict_binary"))
        if predicts or path == "/v1/websocket":
            target = self.server.predict_endpoint
        elif path in ("/", "/v1/models/model"):  # not GET, which has its own routes
            live = path == "/"
            target = self.server.liveness_endpoint if live else self.server.readiness_endpoint
        else:
            target = scope.get("raw_path", path.encode()).decode("latin-1")
        query = scope.get("query_string", b"").decode("latin-1")
        return f"{target}?{query}" if query else target

    def _ended(self, code: int) -> None:
        """Handles the end of the command. Before it was ready, that is a failed load; later it ends this host."""
        tail = self._child.tail if self._child else ""
        event("server.exited", "error", code=code)
        if self.state == "ready":
            os._exit(1)  # the worker sees a host that died, re-queues its jobs and starts another
        if self.state == "loading":
            self._fail(f"The server ended with exit code {code} before it was ready.", tail)


def _reply(response: UpstreamResponse, body: bytes) -> Reply:
    texts = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in response.headers]
    content_type = next((value for name, value in texts if name == "content-type"), "")
    others = [(n, v) for n, v in texts if n not in ("content-type", "content-length")]
    return Reply(response.status, body, content_type, tuple(others))


def _streaming(response: UpstreamResponse) -> Response:
    async def body() -> AsyncGenerator[bytes]:
        try:
            async for chunk in response.chunks():
                yield chunk
        finally:
            response.close()

    streaming = StreamingResponse(body(), response.status)
    streaming.raw_headers = response.headers
    return streaming


def create_server_app(host: ServerHost) -> Starlette:
    """The ASGI application: health, predict and websocket mapped, all other paths unchanged."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        starting = asyncio.create_task(host.run())
        yield
        starting.cancel()
        await asyncio.to_thread(host.stop)

    async def live(_: Request) -> Response:
        return await _health(host, host.server.liveness_endpoint)

    async def ready(_: Request) -> Response:
        return await _health(host, host.server.readiness_endpoint)

    passed_on = SyncEndpoint(host, host.answer)
    return Starlette(
        routes=[
            only_get("/", live),
            Route(PREDICT_PATH, passed_on, methods=["POST"]),
            only_get("/v1/models/model", ready),
            WebSocketRoute("/{path:path}", WebSocketEndpoint(host)),
            Route("/{path:path}", passed_on, methods=METHODS),
        ],
        exception_handlers={HTTPException: plain_error},
        lifespan=lifespan,
    )


async def _health(host: ServerHost, endpoint: str) -> Response:
    if await host.probe(endpoint):
        return Response(b"{}", media_type="application/json")
    return to_response(error_reply(ModelNotReady()))


class WebSocketEndpoint:
    """ASGI app of the mapped websocket."""

    def __init__(self, host: ServerHost) -> None:
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = self._host
        if host.state not in ("ready", "draining"):
            await to_response(error_reply(ModelNotReady()))(scope, receive, send)
            return
        pings = Pings.of(host.package.runtime.transport)
        relay = WebSocketRelay(host.port, host.target(scope), pings)
        await relay(scope, receive, send)

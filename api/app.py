"""The API application: FastAPI with the routes, the addressing middleware and one gateway."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from functools import partial
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from api import openapi, problems
from api.addressing import Addressing
from api.console import pages, trying, versions
from api.console.bridge import Bridge
from api.console.live.parts import Parts
from api.console.live.pulse import Pulse
from api.dialects.request_ids import RequestIds
from api.fast_lane import FastLane
from api.gateway import Gateway
from api.observing.access import AccessLog
from api.observing.requests import Measures, Observed
from api.observing.traced import Traced
from api.routes import async_requests as routes_async
from api.routes import background as routes_background
from api.routes import health as routes_health
from api.routes import listening as routes_listening
from api.routes import management as routes_management
from api.routes import metrics as routes_metrics
from api.routes import model_apis as routes_model_apis
from api.routes import result as routes_result
from api.routes import socket as routes_socket
from api.routes import sync as routes_sync
from api.routes.batches import batches as routes_batches
from api.routes.batches import files as routes_batch_files
from api.routes.batches import messages as routes_message_batches
from api.routes.control import audit as routes_audit
from api.routes.control import contents as routes_contents
from api.routes.control import deployments as routes_deployments
from api.routes.control import history as routes_history
from api.routes.control import keys as routes_keys
from api.routes.control import logs as routes_logs
from api.routes.control import overview as routes_overview
from api.routes.control import packages as routes_packages
from api.routes.control import webhooks as routes_webhooks
from api.routes.files import fetching as routes_fetching
from api.routes.files import uploads as routes_uploads
from api.routes.jobs import bulk as routes_bulk
from api.routes.jobs import inputs as routes_inputs
from api.routes.jobs import listing as routes_listing
from api.routes.jobs import retrying as routes_retrying
from api.routes.truss import graphql as routes_graphql
from api.routes.truss import logs as routes_truss_logs
from api.routes.truss import objects as routes_objects
from api.server.connections import Connections
from tasks.errors import StoreUnavailable
from tasks.log_store.shipper import LogShipper
from tasks.machine import tell_time
from tasks.process import tracing
from tasks.process.loops import end, keep
from tasks.settings import Settings

# A page sends its API key in a header, so cookies and other credentials of the browser are not allowed.
CORS: dict[str, Any] = {
    "allow_methods": ["*"],
    "allow_headers": ["*"],
    "expose_headers": ["*"],
    "max_age": 600,
}
ABOUT = (
    "Baseten's inference API on your own machines: async requests with priorities, sync, streaming."
)
ROUTES = (
    routes_health,
    routes_async,
    routes_result,
    routes_sync,
    routes_socket,
    routes_model_apis,
    routes_background,
    routes_metrics,
    routes_packages,
    routes_uploads,
    routes_batch_files,  # before signed URLs: no token begins with `file-`
    routes_fetching,
    routes_batches,
    routes_message_batches,
    routes_deployments,
    routes_contents,
    routes_management,
    routes_audit,
    routes_listing,
    routes_bulk,
    routes_retrying,
    routes_inputs,
    routes_keys,
    routes_webhooks,
    routes_listening,
    routes_graphql,
    routes_truss_logs,
    routes_objects,
    routes_logs,
    routes_overview,
    routes_history,
)
CONSOLE = (versions, trying, pages)  # the last one answers every path that no other route has
# FastAPI's own spans have the query and its log the text of exceptions. Newer versions have them, and look for them with each request.
OURS_ALONE: Any = dict.fromkeys(("tracing", "metrics", "logs", "auto_configure"), False)
LOOK_SECONDS = 10.0  # between two looks at the store
TRIM_SECONDS = 30.0  # between two looks for connections to model hosts that are not used any more


@contextlib.asynccontextmanager
async def _lifespan(settings: Settings, app: FastAPI) -> AsyncGenerator[None]:
    """The gateway with its connections and loops, from the start of the application until its end."""
    tracing.set_up("api")
    gateway = app.state.gateway = Gateway.create(settings)
    gateway.store.took(app.state.measures.store.observe)
    app.state.pulse = Pulse(gateway.store, gateway.directory, gateway.hub)
    app.state.parts = Parts(app.state.pulse)
    loops = {
        "pulse": app.state.pulse.run,
        "directory": gateway.directory.follow,
        "events": gateway.hub.listen,
        "upstreams": lambda: _trim_upstreams(gateway),
        "connections": app.state.connections.watch,
        "store": lambda: look_after_store(gateway),
    }
    with contextlib.suppress(StoreUnavailable):
        # Before the first request: a time in which no process ran must not count as its wait.
        await tell_time(gateway.store)
        await gateway.epoch.trouble()  # it remembers the store from now on
    running = [asyncio.create_task(keep(name, work)) for name, work in loops.items()]
    shipper = LogShipper(settings)
    shipper.start()
    yield
    await asyncio.to_thread(shipper.stop)
    await end(running)
    await asyncio.to_thread(tracing.stop)
    await gateway.close()


def create_app(settings: Settings) -> FastAPI:
    """The application for these settings. Its connections open when it starts."""
    app = FastAPI(
        title="Kingpost",
        description=ABOUT,
        version=version("kingpost"),
        lifespan=partial(_lifespan, settings),
        openapi_url=None,  # `openapi.install` adds cheaper routes for the document and its pages
        telemetry=OURS_ALONE,
    )
    app.state.connections = Connections(settings.max_connections, settings.max_connections_per_key)
    app.state.measures = Measures()
    problems.install(app)
    for routes in ROUTES:
        app.include_router(routes.router)
    app.include_router(routes_model_apis.slashed)
    app.include_router(routes_keys.own)
    app.include_router(routes_health.root)
    app.add_middleware(FastLane)
    app.add_middleware(Addressing)
    app.add_middleware(RequestIds)  # the last one added is the first to see a request
    if settings.console:
        for part in CONSOLE:
            app.include_router(part.router)
        app.add_middleware(Bridge)
    if settings.origins:
        app.add_middleware(CORSMiddleware, allow_origins=settings.origins, **CORS)
    if tracing.wanted():
        app.add_middleware(Traced)
    access = AccessLog(settings.access_log)
    app.add_middleware(Observed, measures=app.state.measures, log=access)
    openapi.install(app)
    return app


async def look_after_store(gateway: Gateway) -> None:
    """Tells the store this machine's time every LOOK_SECONDS, and notices a loss of its data. It does not depend on a sweeper."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        with contextlib.suppress(StoreUnavailable):
            await tell_time(gateway.store)
            if await gateway.epoch.trouble():  # a loss is logged even if no health check asks
                await gateway.install_key()


async def _trim_upstreams(gateway: Gateway) -> None:
    """Closes unused connections to model hosts, until cancelled."""
    while True:
        await asyncio.sleep(TRIM_SECONDS)
        gateway.upstreams.trim()

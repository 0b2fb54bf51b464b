"""The worker's routes, on a socket of their own: the host's state, slots ahead of a job, jobs, hot reload."""

import os
from collections.abc import Callable
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from workers.host.call.answer import AnswerCall
from workers.host.call.jobs import Jobs
from workers.host.errors import ModelNotReady, Reply, error_reply
from workers.host.state import Host
from workers.host.threads import in_thread

MAX_SLOT_WAIT = 60.0  # s; longer waits would only hide a worker that is gone


def create_worker_app(
    host: Host, answer: AnswerCall, reload: Callable[[], None] | None = None
) -> Starlette:
    """The ASGI application for the worker; `reload` is for a host whose model is a class."""
    slots = SlotRoutes(host)
    routes = [
        Route("/jobs/{request_id}", Jobs(host, answer), methods=["POST", "DELETE"]),
        Route("/slots", slots.reserve, methods=["POST"]),
        Route("/slots/{token}", slots.drop, methods=["DELETE"]),
        Route("/state", slots.state, methods=["GET"]),
    ]
    if reload:
        routes.append(Route("/hot-reload", partial(_hot_reload, reload), methods=["POST"]))
    return Starlette(routes=routes, exception_handlers={HTTPException: plain_error})


class SlotRoutes:
    """What the worker asks about the host, and slots ahead of a job."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def state(self, _: Request) -> Response:
        host, failure = self._host, self._host.failure
        error = {"message": failure.message, "traceback": failure.traceback} if failure else None
        gate, about = host.gate, {"state": host.state, "error": error, "pid": os.getpid()}
        waiting = {"sync_waiting": gate.sync_waiting, "jobs_waiting": gate.jobs_waiting}
        calls = {"open": host.traffic.open, "served": host.traffic.served}
        return JSONResponse({**about, "slots": gate.size, "busy": gate.busy, **waiting, **calls})

    async def reserve(self, request: Request) -> Response:
        if self._host.state != "ready":
            return to_response(error_reply(ModelNotReady()))
        wait = request.query_params.get("wait", "0")
        try:
            seconds = min(MAX_SLOT_WAIT, max(0.0, float(wait)))
        except ValueError:
            return JSONResponse({"error": f"wait must be a number of seconds, not {wait!r}."}, 400)
        token = await self._host.reservations.reserve(seconds)
        return JSONResponse({"slot": token}) if token else Response(status_code=204)

    async def drop(self, request: Request) -> Response:
        self._host.reservations.drop(request.path_params["token"])
        return Response(status_code=204)


async def _hot_reload(reload: Callable[[], None], _: Request) -> Response:
    try:
        await in_thread(reload)
    except Exception as error:  # the developer's own code; the full traceback is in the log
        return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 422)
    return JSONResponse({"msg": "Hot reload complete"})


async def plain_error(_: Request, error: Exception) -> Response:
    """Unknown paths and methods, in FastAPI's shape."""
    assert isinstance(error, HTTPException), "registered for it alone"
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


def to_response(reply: Reply) -> Response:
    """A Reply for routes that answer with starlette's own class."""
    return Response(reply.body, reply.status, dict(reply.all_headers()))

"""The routes of the worker, on a socket of their own: jobs, reserved slots, the host's state, hot reload."""

import os
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from workers.host.call.answer import AnswerCall
from workers.host.call.jobs import Jobs
from workers.host.errors import ModelNotReady, Reply, error_reply
from workers.host.faults import FAULTS
from workers.host.state import Host
from workers.host.threads import in_thread
from workers.wire.calls import (
    AcquireSlot,
    AskState,
    CancelJob,
    Granted,
    HostState,
    ReleaseSlot,
    Reload,
    RunJob,
    WorkerCall,
    decode_call,
    encode_answer,
)
from workers.wire.shapes import WireError

MAX_SLOT_WAIT = 60.0  # s; a wait must not go on for long after its worker died


class WorkerApp:
    """The ASGI application for the worker. `reload` exists only for a host whose model is a class."""

    def __init__(
        self, host: Host, answer: AnswerCall, reload: Callable[[], None] | None = None
    ) -> None:
        self._host = host
        self._jobs = Jobs(host, answer)
        self._reload = reload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one call."""
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        try:
            query = scope["query_string"].decode("latin-1")
            call = decode_call(scope["method"], scope["path"], query, scope["headers"])
        except WireError as error:
            await JSONResponse({"error": str(error)}, 400)(scope, receive, send)
            return
        if isinstance(call, RunJob):
            self._host.traffic.served += 1
            await self._jobs.run(call, scope, receive, send)
            return
        response = await self._response(call)
        await response(scope, receive, send)

    async def _response(self, call: WorkerCall | None) -> Response:
        match call:
            case CancelJob():
                return to_response(self._jobs.stop(call))
            case AcquireSlot():
                return await self._acquire(call)
            case ReleaseSlot():
                self._host.reservations.drop(call.slot)
                return Response(status_code=204)
            case AskState():
                return _json(encode_answer(self._state()))
            case Reload() if self._reload:
                return await _reloaded(self._reload)
            case _:
                return JSONResponse({"detail": "Not Found"}, 404)

    def _state(self) -> HostState:
        host = self._host
        return HostState(
            state=host.state,
            error=host.failure,
            pid=os.getpid(),
            slots=host.gate.size,
            busy=host.gate.busy,
            sync_waiting=host.gate.sync_waiting,
            jobs_waiting=host.gate.jobs_waiting,
            open=host.traffic.open,
            served=host.traffic.served,
            not_live_ms=host.liveness.failing_ms,
            not_ready_ms=host.readiness.failing_ms,
            fault=FAULTS.fatal,
        )

    async def _acquire(self, call: AcquireSlot) -> Response:
        if self._host.state != "ready" or FAULTS.fatal:
            return to_response(error_reply(ModelNotReady()))
        token = await self._host.reservations.reserve(min(MAX_SLOT_WAIT, call.wait))
        return _json(encode_answer(Granted(token))) if token else Response(status_code=204)


async def _reloaded(reload: Callable[[], None]) -> Response:
    try:
        await in_thread(reload)
    except Exception as error:  # the developer's own code; the full traceback is in the log
        return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 422)
    return JSONResponse({"msg": "Hot reload complete"})


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


async def plain_error(_: Request, error: Exception) -> Response:
    """Unknown paths and methods, in FastAPI's shape."""
    assert isinstance(error, HTTPException), "registered for it alone"
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


def to_response(reply: Reply) -> Response:
    """Converts a Reply for routes that answer with starlette's class."""
    return Response(reply.body, reply.status, dict(reply.all_headers()))

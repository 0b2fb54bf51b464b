"""The WebSocket endpoint: accept, hand over to the model, close with the code that Truss's server uses."""

from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from deployments.pings import Pings
from workers.host.call.call import client_of
from workers.host.errors import ModelNotReady, error_reply
from workers.host.logs import chain_request_id, end_request, event, log_user_error, request_id
from workers.host.routes.private import to_response
from workers.host.state import ModelHost
from workers.wire.messages import MODEL_ERROR

NORMAL, UNSUPPORTED, SERVER_ERROR = 1000, 1003, 1011
NOT_IMPLEMENTED = "WebSocket is not implemented on this deployment."


class WebSocketEndpoint:
    """ASGI app of `/v1/websocket`."""

    def __init__(self, host: ModelHost) -> None:
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket({**scope, "client": client_of(scope)}, receive, send)
        request_id.set(socket.headers.get("x-baseten-request-id"))
        chain_request_id.set(socket.headers.get("x-baseten-chain-request-id"))
        try:
            method = self._host.methods.websocket
        except ModelNotReady as error:
            await socket.send_denial_response(to_response(error_reply(error)))
            return
        try:
            await socket.accept(headers=[Pings.of(self._host.package.runtime.transport).header])
            if method is None:
                event("websocket.refused", "error", message=NOT_IMPLEMENTED)
                await socket.close(UNSUPPORTED, NOT_IMPLEMENTED)
                return
            await method.function(socket)
            await _close(socket, NORMAL)
        except WebSocketDisconnect:
            event("websocket.disconnected")
        except SystemExit as error:  # no close frame, as when a program ends
            log_user_error(
                "Model called sys.exit().", error, self._host.package.model_class_filename
            )
        except Exception as error:  # the model's own, of any kind
            log_user_error(MODEL_ERROR, error, self._host.package.model_class_filename)
            await _close(socket, SERVER_ERROR, MODEL_ERROR)
        finally:
            end_request()


async def _close(socket: WebSocket, code: int, reason: str | None = None) -> None:
    try:
        await socket.close(code, reason)
    except (RuntimeError, WebSocketDisconnect):
        event("websocket.already_closed", "debug")  # the model or the client closed it first

"""WebSockets: passes messages between client and model host, and passes the end of either side on."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from functools import partial

from fastapi import APIRouter, WebSocket
from starlette.exceptions import HTTPException
from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus

from api.gateway import addressed_of, authenticate, deployment_for, gateway_of, new_request_id
from api.problems import NO_ROUTE, Problem, log
from api.routes.target import TargetOf
from api.targets import TARGETS
from api.upstream.connection import reach
from api.upstream.hosts import CONNECT_SECONDS, TOKEN, GateRefused, Upstreams
from api.upstream.passing import PublicAddress, answered, forwarded, target_at
from api.upstream.waiting import WaitingCall
from deployments.host_address import REFUSED_HEADER, HostAddress
from deployments.http_client.exchange import RawHeaders
from deployments.pings import Pings
from deployments.registry.resolver import Target
from deployments.socket_relay import Opening, ServerSide, denial, opened, relay

router = APIRouter()
HANDSHAKE_SECONDS = 300.0  # for the answer of the model's server to a handshake
FOR_THE_GATEWAY = b"x-kingpost-"  # headers of a host's answer that no client gets


async def websocket(socket: WebSocket, target: TargetOf) -> None:
    """The model's `websocket`, or the endpoint of a custom server."""
    await _passed(socket, target, "/v1/websocket")


async def sync_websocket(socket: WebSocket, target: TargetOf, route: str) -> None:
    """A WebSocket to any route of the model's own server."""
    await _passed(socket, target, f"/{route}")


async def unknown(socket: WebSocket, path: str) -> None:  # noqa: ARG001
    """Every other path, as over HTTP."""
    raise HTTPException(404, NO_ROUTE)


@dataclass(frozen=True)
class SocketCall:
    """One connection of a client, and the model host it goes to."""

    socket: WebSocket
    target: Target
    path: str
    request_id: str = field(default_factory=new_request_id)

    def opening(self, address: HostAddress) -> Opening:
        """The handshake request for the model host at that address."""
        headers = forwarded(self.socket, self.request_id)
        if address.token:
            headers.append((TOKEN, address.token.encode()))
        offered: list[str] = self.socket.scope["subprotocols"]
        return Opening(target_at(self.socket, self.path), headers, offered)

    def answer_headers(self, headers: RawHeaders) -> RawHeaders:
        """The headers of the host's answer that the client gets."""

        def address() -> PublicAddress:
            return PublicAddress.of(self.socket, addressed_of(self.socket), self.target)

        kept = [
            header
            for header in answered(headers, address)
            if not header[0].startswith(FOR_THE_GATEWAY)
        ]
        return [*kept, (b"x-baseten-request-id", self.request_id.encode())]


async def _passed(socket: WebSocket, target: Target, path: str) -> None:
    """Keeps the connection with one replica until either side ends it. Raises Problem and KingpostError before it opens."""
    gateway, key = gateway_of(socket), await authenticate(socket)
    deployment = await deployment_for(socket, key, target)
    if not gateway.directory.ready(deployment.id):
        await WaitingCall.of(gateway, deployment, key).until_ready()
    call = SocketCall(socket, target, path)
    async with contextlib.AsyncExitStack() as until_the_end:
        try:
            server = await _opened(call, gateway.upstreams, deployment.id, until_the_end)
        except InvalidStatus as refused:  # the model's own server said no
            await socket.send_denial_response(denial(refused, call.answer_headers))
            return
        pings = Pings.told(server.answer_headers)
        socket.scope["state"]["set_pings"](pings.interval, pings.timeout)
        await socket.accept(server.subprotocol, call.answer_headers(server.answer_headers))
        await relay(socket, server)


async def _opened(
    call: SocketCall, upstreams: Upstreams, deployment_id: str, stack: contextlib.AsyncExitStack
) -> ServerSide:
    """A WebSocket to the least loaded replica that can be reached. Raises Problem; InvalidStatus where it was refused."""
    failed = frozenset[str]()
    while replica := upstreams.choose(deployment_id, failed):
        address = upstreams.host_address(replica)
        try:
            server = await _handshake(call.opening(address), address)
        except (OSError, InvalidMessage) as error:  # the latter: the host died meanwhile
            of = {"replica": replica.id, "request_id": call.request_id, "deployment": deployment_id}
            log.warning("replica.failed", error=repr(error), model=replica.model_name, **of)
            upstreams.shun(replica)
            failed |= {replica.id}
        else:
            stack.enter_context(upstreams.counted(replica))
            return server
    raise Problem(502, "model_unavailable", "The model cannot be reached.")


async def _handshake(opening: Opening, address: HostAddress) -> ServerSide:
    """Opens the connection. Raises OSError, InvalidMessage and InvalidStatus; any other failure is a Problem."""
    limit = asyncio.timeout(HANDSHAKE_SECONDS)
    try:
        async with limit:
            return await opened(opening, partial(reach, address, CONNECT_SECONDS))
    except InvalidStatus as refused:
        if refused.response.status_code == 401 and REFUSED_HEADER in refused.response.headers:
            raise GateRefused from None
        raise
    except InvalidMessage:
        raise
    except InvalidHandshake as error:
        message = f"The model's server answered the handshake wrongly: {error}."
        raise Problem(502, "model_unavailable", message) from None
    except TimeoutError:
        if not limit.expired():
            raise  # it cannot be reached
        message = f"The model did not answer the handshake within {HANDSHAKE_SECONDS:g} s."
        raise Problem(408, "timeout", message) from None


for _prefix in TARGETS:
    router.websocket(f"{_prefix}/websocket")(websocket)
    router.websocket(f"{_prefix}/sync/{{route:path}}")(sync_websocket)
router.websocket("/{path:path}")(unknown)

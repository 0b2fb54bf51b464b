"""The API process: uvicorn around the application."""

import gc
import ipaddress
import logging
import socket
from collections.abc import Callable, Sequence

import uvicorn

from api.app import create_app
from api.server.receiving import CountedWebSocket, protocol
from deployments.socket_relay import MAX_MESSAGE
from tasks.access import keys
from tasks.errors import SettingsError
from tasks.process import logs
from tasks.process.listening import bound
from tasks.process.logs import get_logger
from tasks.settings import Settings
from tasks.store.job_store import JobStore

log = get_logger("api")

CAUSED_BY_STRANGERS = (
    "Invalid HTTP request received.",
    "ASGI callable returned without completing handshake.",  # a WebSocket that was refused with a status
)
# Connections. With 1, a health check waits a turn of the loop for each connection that came before it.
ACCEPTED_PER_TURN = 16


class _Server(uvicorn.Server):
    """Ends the calls that wait for something when it stops. Otherwise an open event stream would delay it until the drain ends."""

    def __init__(self, config: uvicorn.Config, let_go: Callable[[], None]) -> None:
        super().__init__(config)
        self._let_go = let_go

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Uvicorn's hook: the server begins to stop."""
        self._let_go()
        await super().shutdown(sockets)


def serve(settings: Settings, host: str, port: int, descriptors: Sequence[int] = ()) -> None:
    """Serves until SIGTERM, then lets running requests end. Raises SettingsError and StoreUnavailable.

    `descriptors` are sockets that the parent process has bound. Clients wait there while this process restarts.
    """
    logs.configure(settings)
    logging.getLogger("uvicorn.error").addFilter(_is_worth_logging)
    check_callers_have_a_key(settings, host)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        lifespan="on",
        server_header=False,
        headers=[("X-Content-Type-Options", "nosniff")],
        http=protocol(settings.receive_timeout_seconds, app.state.connections),
        ws=CountedWebSocket,
        timeout_keep_alive=settings.keep_alive_seconds,
        forwarded_allow_ips=settings.proxies,
        timeout_graceful_shutdown=int(settings.drain_seconds),
        ws_max_size=MAX_MESSAGE,
    )
    sockets = [socket.socket(fileno=number) for number in descriptors] or _bound(host, port)
    app.openapi()  # takes long, so it is made before the first request
    gc.freeze()  # a collection that walks all modules and routes takes 100 ms
    gc.set_threshold(2_000, 10, 50)  # by default a dozen new connections cause a collection
    server = _Server(config, lambda: app.state.gateway.hub.let_go())
    server.run([bound for listener in sockets for bound in _repeated(listener)])


def _bound(host: str, port: int) -> list[socket.socket]:
    try:
        return bound(host, port)
    except OSError as error:
        raise SettingsError(f"The API cannot listen on {host} port {port}: {error}.") from None


def _repeated(listener: socket.socket) -> list[socket.socket]:
    """Several listeners for one queue of connections, because uvloop accepts one connection for each listener in a turn."""
    return [listener, *(listener.dup() for _ in range(ACCEPTED_PER_TURN - 1))]


def _is_worth_logging(record: logging.LogRecord) -> bool:
    """False for uvicorn's lines about bad requests, with which strangers could fill the log. `connections.refused` counts these."""
    return record.msg not in CAUSED_BY_STRANGERS


def check_callers_have_a_key(settings: Settings, host: str) -> None:
    """Raises SettingsError for a public address without any API key, because nobody could call the API."""
    store = JobStore(settings)
    if settings.api_key and not store.run(keys.install(settings.api_key.get_secret_value())):
        log.warning("key.revoked", told="KINGPOST_API_KEY stays revoked; choose a new one")
    known = store.run(keys.known())
    store.close()
    if not _is_loopback(host) and not known:
        message = (
            f"Listening on {host} needs an API key: `kingpost keys create`, or KINGPOST_API_KEY."
        )
        raise SettingsError(message)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

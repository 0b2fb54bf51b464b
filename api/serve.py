"""The API process: uvicorn around the application."""

import ipaddress
import socket
from collections.abc import Sequence

import uvicorn

from api.app import create_app
from api.receiving import CountedWebSocket, protocol
from deployments.socket_relay import MAX_MESSAGE
from tasks import logs
from tasks.api_keys import ApiKeys
from tasks.errors import SettingsError
from tasks.settings import Settings


def serve(settings: Settings, host: str, port: int, descriptors: Sequence[int] = ()) -> None:
    """Serves until SIGTERM, then lets running requests end. Raises SettingsError and StoreUnavailable.

    `descriptors` are sockets that whoever started us has bound: clients wait there while we are started again.
    """
    logs.configure(settings)
    refuse_open_door(settings, host)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        lifespan="on",
        server_header=False,
        http=protocol(settings.receive_timeout_seconds, app.state.connections),
        ws=CountedWebSocket,
        timeout_keep_alive=settings.keep_alive_seconds,
        forwarded_allow_ips=settings.proxies,
        timeout_graceful_shutdown=int(settings.drain_seconds),
        ws_max_size=MAX_MESSAGE,
    )
    sockets = [socket.socket(fileno=number) for number in descriptors]
    uvicorn.Server(config).run(sockets or None)


def refuse_open_door(settings: Settings, host: str) -> None:
    """A public address needs a key: without any, nobody could call anyway, and that is worth saying."""
    if settings.api_key:
        ApiKeys(settings).install(settings.api_key.get_secret_value())
    if not _is_loopback(host) and not ApiKeys(settings).list():
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

"""The model host's gate for an API on another machine: TCP with a token, in front of the host's Unix socket.

It is a thread of the worker, for three reasons:

- The token never enters the process that runs model code.
- Strangers are refused even when the host is busy, loading or dead.
- The port stays the same when the host restarts.
"""

import asyncio
import errno
import secrets
import socket
import threading

import uvloop

from tasks.errors import SettingsError
from tasks.process.listening import ports
from tasks.process.logs import get_logger
from tasks.settings import Settings
from workers.gate.connection import Caller, GateState

log = get_logger("gate")

BACKLOG = 1024
START_SECONDS = STOP_SECONDS = 5.0


class HostGate:
    """The gate of one host. It listens from its creation on, so that the port is known. It answers between `start` and `stop`.

    Raises SettingsError if it cannot listen.
    """

    def __init__(self, host_socket: str, settings: Settings) -> None:
        self.ref = secrets.token_hex(8)  # the name under which the API finds the token
        self._listener = _listener(settings)
        host, port = self._listener.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._gate = GateState(host_socket, secrets.token_urlsafe(32).encode())
        self._stopping: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="gate", daemon=True)

    @property
    def token(self) -> str:
        """The token that a caller must send."""
        return self._gate.token.decode()

    def start(self) -> None:
        """Starts to answer callers. Raises RuntimeError if the thread does not start within START_SECONDS."""
        self._thread.start()
        if not self._started.wait(START_SECONDS):
            raise RuntimeError("the gate's thread did not start")
        log.info("gate.opened", address=self.address)

    def stop(self) -> None:
        """Stops to listen and closes the connections that are still open."""
        if self._loop and self._stopping:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(STOP_SECONDS)
        self._listener.close()

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = await self._loop.create_server(
            lambda: Caller(self._gate), sock=self._listener, backlog=BACKLOG
        )
        self._started.set()
        await self._stopping.wait()
        server.close()
        for caller in list(self._gate.callers):
            caller.cut()


def check(settings: Settings) -> None:
    """Raises SettingsError if gates could not listen as the settings say, so that a node fails at its own start."""
    if settings.host_address:
        _listener(settings).close()


def _listener(settings: Settings) -> socket.socket:
    """A socket that listens on the first free port. Raises SettingsError."""
    address = settings.host_address
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for port in ports(settings.host_ports):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
            listener.listen(
                BACKLOG
            )  # two replicas may bind the same port; the second to listen fails
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                message = f"Model hosts cannot listen on KINGPOST_HOST_ADDRESS {address}: "
                raise SettingsError(f"{message}{error.strerror}.") from error
        else:
            return listener
    raise SettingsError(f"No port of KINGPOST_HOST_PORTS {settings.host_ports} is free.")

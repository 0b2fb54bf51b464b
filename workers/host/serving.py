"""The two Unix sockets of one package: Truss's routes for callers, and those of its worker.

Each has a server and an application of its own. No path that a caller sends can name a route of the worker.
"""

import asyncio
import contextlib
import socket
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from deployments.packages.package import Package
from deployments.pings import Pings
from deployments.socket_relay import MAX_MESSAGE
from workers.host.state import Host

KEEP_ALIVE_SECONDS = 3600  # the worker and the gateway keep their connections open between calls
BACKLOG = 4096  # connections that may wait to be accepted


@dataclass(frozen=True)
class Sockets:
    """Where one package is served."""

    callers: Path
    worker: Path


class HostServer(uvicorn.Server):
    """Serves both sockets until SIGTERM. The state that the worker reads is then "draining".

    `apps` are the application for callers and that for the worker.
    """

    def __init__(
        self, host: Host, apps: tuple[Starlette, ASGIApp], sockets: Sockets, grace_seconds: int
    ) -> None:
        self._app, for_worker = apps
        super().__init__(_config(host.traffic.counting(self._app), host.package, grace_seconds))
        self._for_worker = _WorkersServer(_config(for_worker, host.package, grace_seconds))
        self._host = host
        self._sockets = sockets

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Waits until both servers have answered their calls. Only then the model's own server ends."""
        callers, worker = bound(self._sockets.callers), bound(self._sockets.worker)
        with self.capture_signals():  # also while the model's server ends
            async with self._app.router.lifespan_context(self._app):
                await asyncio.gather(
                    super().serve([*(sockets or ()), callers]), self._for_worker.serve([worker])
                )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Tells both servers to end."""
        self._host.drain()
        self.should_exit = self._for_worker.should_exit = True


class _WorkersServer(uvicorn.Server):
    """A server that leaves signals to the other one."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def _config(app: ASGIApp, package: Package, grace_seconds: int) -> uvicorn.Config:
    pings = Pings.of(package.runtime.transport)
    return uvicorn.Config(
        app,
        lifespan="off",  # `serve` runs it, once for both servers
        log_config=None,
        log_level="warning",
        access_log=False,
        backlog=BACKLOG,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=grace_seconds,
        ws_max_size=MAX_MESSAGE,
        ws_ping_interval=pings.interval,
        ws_ping_timeout=pings.timeout,
    )


def bound(path: Path) -> socket.socket:
    """A socket that only this user can open. uvicorn's own sockets are open to every user of the machine."""
    path.unlink(missing_ok=True)  # of a host that was killed
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(str(path))
    path.chmod(0o600)
    made.listen(BACKLOG)  # only now can anybody connect
    return made

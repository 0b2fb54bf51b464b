"""The model host process: `python -m workers.host.main --package DIR --uds PATH`.

It holds one model, or several chainlets (both options once for each), and nothing of Kingpost's own secrets; the worker that started it is its only parent.
"""

import argparse
import os
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType

import uvicorn

from deployments.packages.package import Package, PackageError
from deployments.pings import Pings
from deployments.socket_relay import MAX_MESSAGE
from workers.host import logs as host_logs
from workers.host.docker_server.server import ServerHost, create_server_app
from workers.host.dynamic_config import use_dynamic_config
from workers.host.model.loader import Surroundings, extend_import_path
from workers.host.routes.app import create_app
from workers.host.state import ModelHost
from workers.host.together import serve_together
from workers.host.variables import apply_variables, surroundings
from workers.processes.parent_death import die_with_parent

KEEP_ALIVE_SECONDS = 3600  # the worker and the gateway keep their connections open between calls
BACKLOG = 4096


def main() -> None:
    """Serves until SIGTERM; ends without waiting for threads that a model left behind."""
    options = _options()
    die_with_parent(options.parent_pid)
    try:
        packages = [Package.load(folder) for folder in options.package]
    except PackageError as error:
        sys.exit(str(error))
    leader = packages[0]
    os.chdir(leader.root)
    apply_variables(leader)
    debugs = any(package.runtime.enable_debug_logs for package in packages)
    host_logs.install("debug" if debugs else options.log_level, options.name or leader.model_name)
    for warning in (warning for package in packages for warning in package.warnings):
        host_logs.event("package.warned", "warning", message=warning)
    if options.dynamic_config_dir:
        use_dynamic_config(options.dynamic_config_dir)
    _drop_own_folder()
    extend_import_path(leader)
    _serve(packages, options)
    sys.stdout.flush()
    os._exit(0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workers.host.main", description=__doc__)
    parser.add_argument(
        "--package", required=True, type=_path, action="append", help="folder with config.yaml"
    )
    parser.add_argument(
        "--uds", required=True, type=_path, action="append", help="the Unix socket to serve it on"
    )
    parser.add_argument("--name", help="whose log lines are that no single chainlet wrote")
    parser.add_argument("--log-level", default="info")
    parser.add_argument("--parent-pid", type=int, help="end at once if this is not the parent")
    parser.add_argument(
        "--grace-seconds", type=int, default=3600, help="for running calls on SIGTERM"
    )
    parser.add_argument("--secrets-dir", type=_path, default=Surroundings.secrets_dir)
    parser.add_argument("--environment-file", type=_path, default=Surroundings.environment_file)
    parser.add_argument(
        "--dynamic-config-dir", type=_path, help="of a chainlet: where its peers are"
    )
    return parser.parse_args()


def _path(text: str) -> Path:
    return Path(text).absolute()  # before the cwd becomes the package


def _drop_own_folder() -> None:
    """`-m` put the start folder first; our generic names must not shadow the model's own packages."""
    own = Path(__file__).parents[2]
    kept = [entry for entry in sys.path if entry and Path(entry).resolve() != own]
    sys.path[:] = [*kept, str(own)]


def _serve(packages: list[Package], options: argparse.Namespace) -> None:
    around = surroundings(options.secrets_dir, options.environment_file)
    if len(packages) == 1:
        _server(packages[0], options.uds[0], options, around).run()
        return
    around = replace(around, shared=True, loading=threading.Lock())
    servers = {
        package.model_name: _server(package, uds, options, around)
        for package, uds in zip(packages, options.uds, strict=True)
    }
    serve_together(servers)


def _server(
    package: Package, uds: Path, options: argparse.Namespace, around: Surroundings
) -> "_Server":
    if package.docker_server:
        host = ServerHost(package)
        app = create_server_app(host)
    else:
        host = ModelHost(package, around)
        app = create_app(host)
    pings = Pings.of(package.runtime.transport)
    config = uvicorn.Config(
        host.traffic.around(app),
        log_config=None,
        log_level="warning",
        access_log=False,
        backlog=BACKLOG,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=options.grace_seconds,
        ws_max_size=MAX_MESSAGE,
        ws_ping_interval=pings.interval,
        ws_ping_timeout=pings.timeout,
    )
    return _Server(config, host.drain, uds)


class _Server(uvicorn.Server):
    """A uvicorn whose SIGTERM also changes the state that the worker reads."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], None], uds: Path) -> None:
        super().__init__(config)
        self._drain = drain
        self._uds = uds

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves on its Unix socket."""
        super().run([*(sockets or ()), _private(self._uds)])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._drain()
        self.should_exit = True


def _private(uds: Path) -> socket.socket:
    """A bound socket for this user alone; uvicorn's own are open to every user of the machine."""
    uds.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(str(uds))
    uds.chmod(0o600)  # nobody could connect before: it does not listen yet
    return made


if __name__ == "__main__":
    main()

"""The model host process: `python -m workers.host.main --package DIR --uds PATH --worker-uds PATH`.

It holds one model, or several chainlets (these options once for each). It gets none of Kingpost's own secrets. The worker that started
it is its parent.
"""

import argparse
import os
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

from deployments.packages.package import Package, PackageError
from tasks.process import tracing
from workers.host import files_folder
from workers.host import logs as host_logs
from workers.host.call.answer import answer
from workers.host.docker_server.server import ServerHost, create_server_app
from workers.host.dynamic_config import use_dynamic_config
from workers.host.model.import_path import extend_import_path
from workers.host.model.loader import Surroundings
from workers.host.routes.app import create_app
from workers.host.routes.private import WorkerApp
from workers.host.serving import HostServer, Sockets
from workers.host.state import ModelHost
from workers.host.together import serve_together
from workers.host.variables import apply_variables, read_surroundings
from workers.processes.parent_death import die_with_parent


def main() -> None:
    """Serves until SIGTERM. It ends without waiting for threads that a model left behind."""
    options = _options()
    die_with_parent(options.parent_pid)
    try:
        packages = [Package.load(folder) for folder in options.package]
    except PackageError as error:
        sys.exit(str(error))
    leader = packages[0]  # chainlets share a process only if their variables and folders are equal
    os.chdir(leader.root)
    apply_variables(leader)
    debugs = any(package.runtime.enable_debug_logs for package in packages)
    host_logs.install("debug" if debugs else options.log_level, options.name or leader.model_name)
    for warning in (warning for package in packages for warning in package.warnings):
        host_logs.event("package.warned", "warning", message=warning)
    if options.dynamic_config_dir:
        use_dynamic_config(options.dynamic_config_dir)
    _put_own_folder_last()
    extend_import_path(leader)
    tracing.set_up("model")
    _serve(packages, options)
    tracing.stop()
    sys.stdout.flush()
    os._exit(0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workers.host.main", description=__doc__)
    parser.add_argument(
        "--package", required=True, type=_path, action="append", help="folder with config.yaml"
    )
    parser.add_argument(
        "--uds", required=True, type=_path, action="append", help="the Unix socket for callers"
    )
    parser.add_argument(
        "--worker-uds",
        required=True,
        type=_path,
        action="append",
        help="the Unix socket for its worker: jobs, slots, state, reload",
    )
    parser.add_argument(
        "--name", help="what log lines call the process as a whole; default: the first model's name"
    )
    parser.add_argument("--log-level", default="info")
    parser.add_argument("--parent-pid", type=int, help="end at once if this is not the parent")
    parser.add_argument(
        "--grace-seconds",
        type=int,
        default=3600,
        help="how long running calls may go on after SIGTERM",
    )
    parser.add_argument("--secrets-dir", type=_path, default=Surroundings.secrets_dir)
    parser.add_argument("--environment-file", type=_path, default=Surroundings.environment_file)
    parser.add_argument(
        "--dynamic-config-dir", type=_path, help="of a chainlet: where its peers are"
    )
    parser.add_argument(
        "--files-dir", type=_path, help="for the files of running calls; without it none are taken"
    )
    return parser.parse_args()


def _path(text: str) -> Path:
    return Path(text).absolute()  # now, because `main` changes the working folder to the package


def _put_own_folder_last() -> None:
    """Moves the start folder, which `-m` put first on the import path, to its end, so that our packages do not hide the model's."""
    own = Path(__file__).parents[2]
    kept = [entry for entry in sys.path if entry and Path(entry).resolve() != own]
    sys.path[:] = [*kept, str(own)]


def _serve(packages: list[Package], options: argparse.Namespace) -> None:
    surroundings = read_surroundings(options.secrets_dir, options.environment_file)
    if options.files_dir:
        surroundings = replace(surroundings, files_dir=files_folder.take(options.files_dir))
    sockets = [Sockets(*paths) for paths in zip(options.uds, options.worker_uds, strict=True)]
    if len(packages) == 1:
        _server(packages[0], sockets[0], options, surroundings).run()
        return
    surroundings = replace(surroundings, shared=True, loading=threading.Lock())
    servers = {
        package.model_name: _server(package, its_sockets, options, surroundings)
        for package, its_sockets in zip(packages, sockets, strict=True)
    }
    serve_together(servers)


def _server(
    package: Package, sockets: Sockets, options: argparse.Namespace, surroundings: Surroundings
) -> HostServer:
    if package.docker_server:
        server_host = ServerHost(package)
        apps = create_server_app(server_host), WorkerApp(server_host, server_host.answer)
        return HostServer(server_host, apps, sockets, options.grace_seconds)
    host = ModelHost(package, surroundings)
    apps = create_app(host), WorkerApp(host, partial(answer, host), host.hot_reload)
    return HostServer(host, apps, sockets, options.grace_seconds)


if __name__ == "__main__":
    main()

"""Loads the changes of a watched folder, without a new host if the model's class allows it."""

import ast
from pathlib import Path

from deployments.packages.package import Package
from kingpost.packing.config_file import PackageError
from kingpost.packing.files import all_stamps, changes
from tasks.process.logs import get_logger
from workers.hosting import client as host_client
from workers.hosting.process import HostProcess

log = get_logger("reloads")

# These methods run once. What they made stays on the live instance.
SETUP = ("__init__", "load", "setup_environment")


class Reloads:
    """Reloads one replica when the folder of its deployment has changed."""

    def __init__(self, host: HostProcess, package: Package, deployment_id: str) -> None:
        self._host = host
        self._package = package
        self._deployment_id = deployment_id
        self._stamps = all_stamps(package.root, package.external_package_dirs)
        self._setup = setup_of(package)

    def take(self, deployment_id: str) -> None:
        """Called with each message of the reloads channel."""
        if deployment_id == self._deployment_id:
            log.info("model.changed", how=self.reload())

    def reload(self) -> str:
        """Loads the changes. Returns 'unchanged', 'swapped' (in place), 'refused' (by the new code) or 'restarted'."""
        before, setup = self._stamps, setup_of(self._package)
        try:
            self._stamps = all_stamps(self._package.root, self._package.external_package_dirs)
        except (PackageError, OSError) as error:  # the next save is compared with what is loaded
            log.warning("model.not_reloaded", error=str(error))
            return "refused"
        changed = changes(before, self._stamps)
        if not changed:
            return "unchanged"
        if setup is None and not self._package.docker_server:
            log.warning("model.not_reloaded", error="the model's file is no Python")
            return "refused"
        setup, self._setup = self._setup, setup
        only_own_code = all(
            path.endswith(".py") and not Path(path).is_absolute() for path in changed
        )
        can_swap = only_own_code and setup == self._setup
        if can_swap and self._host.ready.is_set() and not self._package.docker_server:
            return self._swap()
        self._host.end(self._host.generation, f"{', '.join(sorted(changed)[:3])} changed")
        return "restarted"

    def _swap(self) -> str:
        try:
            status, message = host_client.hot_reload(self._host.sockets[0].worker_address)
        except host_client.HostUnavailable as error:
            self._host.end(
                self._host.generation, f"its code could not be loaded in place: {error!r}"
            )
            return "restarted"
        if status != 200:
            log.warning("model.not_reloaded", error=message)
            return "refused"
        return "swapped"


def setup_of(package: Package) -> str | None:
    """The methods that run once in the life of an instance, as text to compare. None if the file cannot be read or is no Python."""
    try:
        tree = ast.parse(Path(package.model_file).read_text())
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    functions = [
        part
        for node in classes
        if node.name == package.model_class_name
        for part in node.body
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) and part.name in SETUP
    ]
    return "\n".join(ast.dump(function) for function in functions)

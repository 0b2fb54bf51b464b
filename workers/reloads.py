"""A deployment that follows a folder: what changed there is loaded, in place where the class allows it."""

import ast
import threading
from pathlib import Path
from typing import cast

import redis
from redis.client import PubSub

from deployments.package import Package
from deployments.packaging import Stamps, stamps
from deployments.registry_keys import RELOADS
from tasks.logs import get_logger
from tasks.store import JobStore
from workers import host_client
from workers.host_process import HostProcess

log = get_logger("reloads")

POLL_SECONDS = 1.0  # s; how soon `stop` is noticed
SETUP = ("__init__", "load", "setup_environment")  # what they made stays on the live instance


class Reloads:
    """A thread on the reloads channel, for one deployment."""

    def __init__(
        self, store: JobStore, host: HostProcess, package: Package, deployment_id: str
    ) -> None:
        self._redis = store.redis
        self._host = host
        self._package = package
        self._deployment_id = deployment_id
        self._stamps = stamps(package.root)
        self._setup = setup_of(package)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="reloads", daemon=True)

    def start(self) -> None:
        """Starts listening."""
        self._thread.start()

    def stop(self) -> None:
        """Stops listening."""
        self._stopping.set()
        self._thread.join()

    def reload(self) -> str:
        """Loads what changed: 'unchanged', 'swapped' in place, 'refused' by the new code, or 'restarted'."""
        before, setup = self._stamps, setup_of(self._package)
        self._stamps = stamps(self._package.root)
        changed = changes(before, self._stamps)
        if not changed:
            return "unchanged"
        if setup is None and not self._package.docker_server:
            log.warning("model.not_reloaded", error="the model's file is no Python")
            return "refused"
        setup, self._setup = self._setup, setup
        hot = all(path.endswith(".py") for path in changed) and setup == self._setup
        if hot and self._host.ready.is_set() and not self._package.docker_server:
            return self._swap()
        self._host.end(self._host.generation, f"{', '.join(sorted(changed)[:3])} changed")
        return "restarted"

    def _swap(self) -> str:
        try:
            status, said = host_client.hot_reload(self._host.address)
        except host_client.HostUnavailable as error:
            self._host.end(self._host.generation, f"no hot reload: {error!r}")
            return "restarted"
        if status != 200:
            log.warning("model.not_reloaded", error=said)
            return "refused"
        return "swapped"

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
                    channel.subscribe(RELOADS)
                    self._listen(channel)
            except redis.RedisError as error:
                log.warning("reloads.disconnected", error=str(error))
                self._stopping.wait(POLL_SECONDS)

    def _listen(self, channel: PubSub) -> None:
        while not self._stopping.is_set():
            message = channel.get_message(timeout=POLL_SECONDS)
            if message and cast(bytes, message["data"]).decode() == self._deployment_id:
                log.info("model.changed", how=self.reload())


def changes(before: Stamps, after: Stamps) -> set[str]:
    """Paths that came, went or changed."""
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def setup_of(package: Package) -> str | None:
    """The source of what runs once in the life of an instance; None when it cannot be read now."""
    try:
        tree = ast.parse(Path(package.model_file).read_text())
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None
    classes = [one for one in ast.walk(tree) if isinstance(one, ast.ClassDef)]
    functions = [
        part
        for one in classes
        if one.name == package.model_class_name
        for part in one.body
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) and part.name in SETUP
    ]
    return "\n".join(ast.dump(function) for function in functions)

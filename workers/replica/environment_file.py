"""Keeps the name of the environment that a model serves in a file, which its host reads as on Baseten."""

import json
import threading
from collections.abc import Mapping
from pathlib import Path

from deployments.registry import verbs as registry
from deployments.registry.records import Deployment, Environment
from tasks.process.loops import Guard
from tasks.store.job_store import JobStore

LOOK_SECONDS = 5.0  # between looks at the registry: a thousand replicas look
# The first and the last choice for a deployment that serves several environments.
FIRST, LAST = "production", "development"


def environment_of(environments: Mapping[str, Environment], deployment_id: str) -> str | None:
    """The name of the environment that the deployment serves. If it serves none, the one that it will take over."""
    served = [
        environment.name
        for environment in environments.values()
        if environment.deployment_id == deployment_id
    ]
    warmed_for = [
        environment.name
        for environment in environments.values()
        if environment.candidate == deployment_id
    ]
    names = served or warmed_for
    return min(names, key=lambda name: (name != FIRST, name == LAST, name), default=None)


class EnvironmentFile:
    """A thread that keeps the file up to date. Without an environment there is no file."""

    def __init__(self, store: JobStore, deployment: Deployment, path: Path) -> None:
        self._store = store
        self._deployment = deployment
        self._path = path
        self._looks = Guard("environment of the model")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="environment", daemon=True)

    def start(self) -> None:
        """Writes the file, so that the first host finds it, and then follows the registry."""
        with self._looks.round():
            self.run_once()
        self._thread.start()

    def stop(self) -> None:
        """Stops following."""
        self._stopping.set()
        self._thread.join()

    def run_once(self) -> str | None:
        """Updates the file once and returns the environment's name. Raises StoreUnavailable and leaves the file as it is."""
        environments = self._store.run(registry.environments(self._deployment.model_id))
        name = environment_of(environments, self._deployment.id)
        if name is None:
            self._path.unlink(missing_ok=True)
            return None
        content = json.dumps({"name": name})
        if not self._path.is_file() or self._path.read_text() != content:
            fresh = self._path.with_suffix(".new")
            fresh.write_text(content)
            fresh.replace(self._path)  # the host never reads half of it
        return name

    def _loop(self) -> None:
        while not self._stopping.wait(max(LOOK_SECONDS, self._looks.delay)):
            with self._looks.round():
                self.run_once()

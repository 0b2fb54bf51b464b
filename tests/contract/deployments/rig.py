"""A stack whose replicas are run by nodes, and packages that say which version they are."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from cli.parts import sentence_of
from cli.stack.ports import free_port
from deployments.registry import verbs as registry
from deployments.registry.autoscaling import Autoscaling
from deployments.registry.records import Deployment, Replica
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from tests.api_keys import ApiKeys
from tests.conditions import wait_until
from tests.contract.host.running import write_package
from tests.processes import Process, variables
from tests.typed import typed
from tests.valkey import Valkey

KEY = "kp_deptests.0123456789abcdef0123456789abcdef"
MODEL = """
import asyncio

VERSION = {version!r}

class Model:
    async def predict(self, given):
        if isinstance(given, dict) and "delay" in given:
            await asyncio.sleep(given["delay"])
        return VERSION
"""
CONFIG = "model_name: {name}\nruntime: {{predict_concurrency: 4}}\n"


@dataclass
class Rig:
    """Valkey, an API, maintenance, and as many nodes as a test starts; use it as a context manager."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict[str, str])
    parts: dict[str, Process] = field(default_factory=dict[str, Process])

    def __enter__(self) -> "Rig":
        (self.folder / "valkey").mkdir(parents=True)
        self.valkey = Valkey(self.folder / "valkey", fsync="everysec").start()
        self.settings = Settings(redis_url=self.valkey.url, state_dir=self.folder / "state")
        self.settings.state_dir.mkdir()
        ApiKeys(self.settings).install(KEY)
        self.port = free_port()
        self.start("maintenance", "maintenance")
        self.start("api", "api", "--port", str(self.port))
        self.store = JobStore(self.settings)
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"Authorization": f"Api-Key {KEY}"},
            timeout=60,
        )
        wait_until(self._answers, 30, "the API does not answer")
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        for name in reversed(self.parts):
            process = self.parts[name]
            if process.popen and process.popen.poll() is None:
                process.stop(60)
        self.valkey.stop()

    def _answers(self) -> bool:
        try:
            return self.http.get("/health/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def start(self, name: str, *command: str, **env: str) -> Process:
        """Starts a part of the stack."""
        known = variables(self.settings, **{**self.env, **env})
        log = self.folder / f"{name}.log"
        self.parts[name] = Process(list(command), known, log).start()
        return self.parts[name]

    def node(self, name: str = "node", **env: str) -> Process:
        """Starts a node with a state folder of its own, but the packages of all."""
        state = self.folder / name
        state.mkdir(exist_ok=True)
        shared = (self.settings.state_dir / "payloads").as_uri()
        more = {"KINGPOST_STATE_DIR": str(state), "KINGPOST_PAYLOAD_URL": shared}
        return self.start(name, "node", **{**more, **env})

    def package(self, name: str, version: str, model: str | None = None) -> Path:
        """A folder with a model that answers with its version."""
        text = model or MODEL.format(version=version)
        return write_package(
            self.folder / "packages" / f"{name}-{version}", text, CONFIG.format(name=name)
        )

    def kingpost(self, *arguments: str, code: int = 0) -> str:
        """Runs a command in this process, as imports would take longer than most of them; what it says."""
        done, refused = typed(arguments, env=variables(self.settings)), None
        if done.exception and not isinstance(done.exception, SystemExit):
            refused = sentence_of(done.exception)
            if refused is None:
                raise done.exception
        said = f"{done.output}{refused or ''}"
        assert done.exit_code == code, said
        return said

    def push(self, name: str, version: str, *more: str) -> Deployment:
        """Pushes that version; its deployment."""
        self.kingpost("push", str(self.package(name, version)), *more)
        known = [
            deployment
            for deployment in self.store.run(registry.deployments())
            if deployment.model_name == name
        ]
        return known[-1]

    def autoscale(self, deployment: Deployment, **settings: Any) -> None:
        """Changes its autoscaling settings."""
        self.store.run(registry.configure(deployment.id, Autoscaling().changed(settings)))

    def replicas(self, deployment: Deployment, state: str = "ready") -> list[Replica]:
        """Its replicas in that state."""
        found = [
            replica
            for replica in self.store.run(registry.replicas())
            if replica.deployment_id == deployment.id
        ]
        return [replica for replica in found if replica.state == state]

    def replicas_of(self, deployment_id: str) -> list[Replica]:
        """All its replicas, in whatever state."""
        found = self.store.run(registry.replicas())
        return [replica for replica in found if replica.deployment_id == deployment_id]

    def until_ready(self, deployment: Deployment, count: int = 1) -> None:
        """Waits until so many replicas of it are ready."""
        wait_until(lambda: len(self.replicas(deployment)) == count, 60, "no replica is ready")

    def predict(self, name: str, given: object = 1) -> Any:
        """A sync call; its answer."""
        answer = self.http.post(f"/models/{name}/production/predict", json=given)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def submit(self, name: str, given: object = 1, **more: object) -> str:
        """An async request; its id."""
        body = {"model_input": given, **more}
        answer = self.http.post(f"/models/{name}/production/async_predict", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["request_id"]

    def status(self, request_id: str, wait: int = 0) -> dict[str, Any]:
        """Its status."""
        return self.http.get(f"/async_request/{request_id}?wait={wait}").json()

    def result(self, request_id: str) -> Any:
        """Its output."""
        assert self.status(request_id, 60)["status"] == "SUCCEEDED", self.status(request_id)
        return self.http.get(f"/async_request/{request_id}/result").json()

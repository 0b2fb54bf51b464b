"""What the checks run on: the GPU as the driver knows it, stacks with generated packages, and calls to them."""

import json
import os
import shutil
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from cli.stack.briefly import running
from deployments.registry import verbs as registry
from deployments.registry.records import Replica
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from tests.conditions import wait_until

HERE = Path(__file__).parent
MIB = 1 << 20
LISTED = (
    "0=8Gi"  # the GPU that a machine without one lists, so that placement has something to place on
)
KINDS = ("H200", "H100", "A100", "A10G", "L40S", "L4", "T4", "V100")


@dataclass(frozen=True)
class Gpu:
    """The first GPU of the machine; `total` is in MiB."""

    name: str
    total: int

    @property
    def kind(self) -> str:
        """How config.yaml calls it."""
        return next((kind for kind in KINDS if kind in self.name), "A10G")

    @property
    def used(self) -> int:
        """Memory in use, in MiB."""
        import pynvml

        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        return int(pynvml.nvmlDeviceGetMemoryInfo(handle).used) // MIB


def found_gpu() -> Gpu | None:
    """The GPU that the driver knows and torch can use, None without one."""
    import pynvml
    import torch

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    except pynvml.NVMLError:
        return None
    if not torch.cuda.is_available():
        return None
    name, total = pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetMemoryInfo(handle).total
    return Gpu(str(name), int(total) // MIB)


class Stand:
    """A stack, as a client and an operator see it."""

    def __init__(self, url: str, key: str, settings: Settings) -> None:
        self.url, self.key = url, key
        self._store = JobStore(settings)
        headers = {"authorization": f"Api-Key {key}"}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=300)

    def call(self, model: str, given: Mapping[str, object]) -> Any:
        """The answer of a sync call."""
        answer = self.http.post(f"/models/{model}/production/predict", json=given)
        assert answer.is_success, f"{model} answered {answer.status_code}: {answer.text[:300]}"
        return answer.json()

    def job(self, model: str, given: Mapping[str, object]) -> str:
        """The id of a request that was queued."""
        path = f"/models/{model}/production/async_predict"
        answer = self.http.post(path, json={"model_input": given})
        assert answer.is_success, answer.text
        return answer.json()["request_id"]

    def status(self, job: str) -> Any:
        """How a request stands."""
        return self.http.get(f"/async_request/{job}").json()

    def ended(self, job: str, seconds: float = 120) -> Any:
        """The status of a request once it is final."""
        wait_until(lambda: self.status(job)["status"] not in ("QUEUED", "IN_PROGRESS"), seconds)
        return self.status(job)

    def replicas(self, model: str) -> list[Replica]:
        """The replicas of a model that are ready."""
        known = self._store.run(registry.replicas())
        return [
            replica for replica in known if replica.model_name == model and replica.state == "ready"
        ]


@contextmanager
def stand(
    folder: Path, models: Mapping[str, tuple[str, dict[str, Any]]], gpu: Gpu | None
) -> Generator[Stand]:
    """A stack with these models: name -> (its folder in bench/gpu/models, more of its config.yaml)."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, (source, config) in models.items():
        shutil.copytree(HERE / "models" / source, folder / name)
        (folder / name / "config.yaml").write_text(json.dumps({"model_name": name, **config}))
    if gpu is None:
        os.environ["KINGPOST_NODE_GPUS"] = LISTED
    with running(folder, "") as stack:
        up = json.loads((stack.key_file.parent / "up.json").read_text())
        settings = Settings(redis_url=up["redis_url"], state_dir=stack.key_file.parent)
        yield Stand(stack.url, stack.key, settings)


def seconds_until(met: Callable[[], bool], most: float) -> float:
    """How long it took. Raises TimeoutError of wait_until."""
    began = time.monotonic()
    wait_until(met, most)
    return time.monotonic() - began

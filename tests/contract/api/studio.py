"""A model for the console's tests, beside the live stack: it declares its input, and writes what a browser would run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.registry.records import Deployment
from tests.contract.api.conftest import Live
from tests.processes import Process, ready_replicas, variables

FOLDER = Path(__file__).parent / "models" / "studio"


@pytest.fixture(scope="module")
def studio(live: Live) -> Iterator[Deployment]:
    before = len(ready_replicas(live.settings, 0))
    process = Process(["replica", str(FOLDER)], variables(live.settings), live.folder / "studio.log").start()  # fmt: skip
    try:
        ready_replicas(live.settings, before + 1)
        yield live.deployment("studio <img src=x onerror=\"document.title='owned'\">")
    finally:
        process.stop()

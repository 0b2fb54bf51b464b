"""A model for the console's tests, beside the live stack: it declares its input, and writes what a browser would run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.registry.records import Deployment
from tests.contract.api.conftest import Live, own_replica

FOLDER = Path(__file__).parent / "models" / "studio"


@pytest.fixture(scope="module")
def studio(live: Live) -> Iterator[Deployment]:
    with own_replica(live, FOLDER):
        yield live.deployment("studio <img src=x onerror=\"document.title='owned'\">")

"""A package of two gigabytes over a connection that is cut five times."""

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from deployments.packages.store import package_ref
from kingpost import Client
from kingpost.packages import DeploymentStep, Sent
from kingpost.packing.files import files_of, selection_of
from tests.contract.deployments.rig import KEY, Rig
from tests.cutting import cutting
from tests.memory import MEGABYTE, peak_rss

SIZE = 2_000 * MEGABYTE
MOST_MEMORY = 50 * MEGABYTE  # that the API may need for it


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path) as rig:
        rig.node()
        yield rig


@pytest.mark.slow  # a minute or two, and 6 GB of disk
def test_two_gigabytes_that_are_cut_five_times_arrive_in_flat_memory(rig: Rig) -> None:
    folder = rig.package("large", "one")
    random = Random(7)
    with (folder / "weights.bin").open("wb") as file:
        for _ in range(SIZE // (10 * MEGABYTE)):
            file.write(random.randbytes(10 * MEGABYTE))
    pid = rig.parts["api"].pid
    before, began = peak_rss(pid), time.monotonic()
    with (
        cutting(f"http://127.0.0.1:{rig.port}", 5, after=300 * MEGABYTE) as (proxy, url),
        Client(url, KEY, retries=8) as client,
    ):
        given = list(client.push(folder))
    assert proxy.cuts == 0
    sent = [step.done for step in given if isinstance(step, Sent)]
    assert sent == sorted(sent) and sent[-1] > SIZE  # it never began again
    assert isinstance(given[-1], DeploymentStep) and given[-1].state == "ready"
    assert rig.predict("large") == "one"
    named = {path.relative_to(folder).as_posix(): path for path in files_of(folder)}
    content_hash = selection_of(folder, named).content_hash
    assert (rig.settings.state_dir / "payloads" / package_ref(content_hash)).exists()
    grown = peak_rss(pid) - before
    print(f"{time.monotonic() - began:.1f} s, API +{grown / MEGABYTE:.1f} MiB")
    assert grown <= MOST_MEMORY

"""Packages that were unpacked on a node go when nothing there uses them; what a replica holds stays."""

import os
import time
from pathlib import Path

import pytest

from deployments.packages.store import PackageStore, unpacked_in
from deployments.packages.unpacked import UnpackedCollector
from deployments.registry import verbs as registry
from kingpost.packing.gathering import gather
from tasks.settings import Settings
from tasks.store.job_store import AsyncJobStore, JobStore
from tests.contract.host.running import write_package

MODEL = "class Model:\n    def predict(self, given): return given\n"
DAY = 86_400.0


@pytest.fixture
def later(settings: Settings) -> float:
    """A time at which every package was fetched long ago."""
    return time.time() + settings.package_grace_seconds + DAY


def stored(settings: Settings, tmp_path: Path, name: str) -> str:
    """The hash of a stored package."""
    folder = write_package(tmp_path / name, MODEL + f"# {name}\n")
    selection = gather(folder, 1 << 30, tmp_path)
    PackageStore(settings).put(selection, lambda _: None)
    return selection.content_hash


def let_go(store: PackageStore) -> None:
    """As when the process ends."""
    for descriptor in store.held:
        os.close(descriptor)


def there(settings: Settings) -> set[str]:
    return {path.name for path in unpacked_in(settings).iterdir() if path.is_dir()}


async def test_what_no_deployment_needs_and_no_replica_holds_goes(
    settings: Settings, async_store: AsyncJobStore, store: JobStore, tmp_path: Path, later: float
) -> None:
    used, unused, held, off = (stored(settings, tmp_path, name) for name in "abcd")
    store.run(registry.push("m", used, 1))
    store.run(registry.activate(store.run(registry.push("off", off, 1)).id, False))
    packages, holder = PackageStore(settings), PackageStore(settings)
    for content_hash in (used, unused, off):
        packages.fetch(content_hash)
    holder.fetch(held)
    let_go(packages)
    assert await UnpackedCollector(async_store, settings).run_once() == 0  # just fetched
    collector = UnpackedCollector(async_store, settings, lambda: later)
    assert await collector.run_once() == 2
    assert there(settings) == {used, held}
    let_go(holder)
    assert await collector.run_once() == 1
    again = PackageStore(settings)
    assert (again.fetch(unused) / "config.yaml").exists()  # it is still stored
    assert await collector.run_once() == 0  # somebody holds it
    let_go(again)


async def test_a_package_that_is_used_again_counts_from_its_last_use(
    settings: Settings, async_store: AsyncJobStore, tmp_path: Path
) -> None:
    wanted, packages = stored(settings, tmp_path, "a"), PackageStore(settings)
    packages.fetch(wanted)
    os.utime(unpacked_in(settings) / f"{wanted}.lock", (DAY, DAY))  # in 1970
    packages.fetch(wanted)
    let_go(packages)
    assert await UnpackedCollector(async_store, settings).run_once() == 0
    assert there(settings) == {wanted}


async def test_what_a_crash_left_goes_and_strange_files_stay(
    settings: Settings, async_store: AsyncJobStore, tmp_path: Path, later: float
) -> None:
    folder, left = unpacked_in(settings), "a" * 64
    for name in (f"{left}.new", f"{left}.gone", "mine", "b" * 63):
        (folder / name / "deep").mkdir(parents=True)
    collector = UnpackedCollector(async_store, settings, lambda: later)
    assert await collector.run_once() == 0
    assert there(settings) == {"mine", "b" * 63}
    kept = settings.model_copy(update={"package_grace_seconds": 0.0})
    content_hash = stored(settings, tmp_path, "a")
    packages = PackageStore(settings)
    packages.fetch(content_hash)
    let_go(packages)
    assert await UnpackedCollector(async_store, kept, lambda: later).run_once() == 0
    assert content_hash in there(settings)

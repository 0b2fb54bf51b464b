"""The collector of packages on a real Valkey and a real folder."""

import os
from pathlib import Path

import pytest

from deployments.packages.collector import Collected, PackageCollector
from deployments.packages.store import package_ref
from deployments.registry import packages as stored
from deployments.registry import verbs as registry
from tasks.files import verbs as uploads
from tasks.settings import Settings
from tasks.store.job_store import AsyncJobStore, JobStore
from tests.conftest import Clock

HOUR = 3600.0


@pytest.fixture
def folder(settings: Settings) -> Path:
    return settings.state_dir / "payloads"


def put(folder: Path, ref: str) -> Path:
    path = folder / ref
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"content")
    return path


async def test_a_package_goes_when_nothing_has_used_it_for_a_whole_grace(
    folder: Path, settings: Settings, async_store: AsyncJobStore, store: JobStore, clock: Clock
) -> None:
    used, unused = ("a" * 64, "b" * 64)
    paths = {name: put(folder, package_ref(name)) for name in (used, unused)}
    stranger = put(folder, "packages/zz/other.tar")
    store.run(registry.push("m", used, 1))
    collector = PackageCollector(async_store, settings)
    assert await collector.run_once() == Collected(0, 0)  # the time begins
    clock.jump(23 * HOUR)
    clock.advance(23 * HOUR)
    assert await collector.run_once() == Collected(0, 0)
    assert store.run(stored.keep_package(unused))  # somebody asked for it: the time begins anew
    clock.advance(2 * HOUR)
    assert await collector.run_once() == Collected(0, 0)
    clock.advance(25 * HOUR)
    assert await collector.run_once() == Collected(1, 0)
    assert not paths[unused].exists()
    assert paths[used].exists() and stranger.exists()
    assert store.run(stored.keep_package(unused))  # it may be stored again


async def test_a_grace_of_zero_keeps_everything(
    folder: Path, settings: Settings, async_store: AsyncJobStore, clock: Clock
) -> None:
    path = put(folder, package_ref("a" * 64))
    kept = settings.model_copy(update={"package_grace_seconds": 0.0})
    for _ in range(3):
        await PackageCollector(async_store, kept).run_once()
        clock.advance(48 * HOUR)
    assert path.exists()


async def test_pieces_that_no_upload_can_need_any_more_go(
    folder: Path, settings: Settings, async_store: AsyncJobStore
) -> None:
    old, young = put(folder, "uploads/old.0"), put(folder, "uploads/young.0")
    before = old.stat().st_mtime - settings.upload_seconds - 2 * HOUR
    os.utime(old, (before, before))
    assert await PackageCollector(async_store, settings).run_once() == Collected(0, 1)
    assert young.exists() and not old.exists()


async def test_an_upload_is_dropped_after_its_time(
    settings: Settings, async_store: AsyncJobStore, store: JobStore, clock: Clock
) -> None:
    first = store.run(uploads.open_upload("alice", "package", "a" * 64, 10, settings))
    again = store.run(uploads.open_upload("alice", "package", "a" * 64, 10, settings))
    assert (again.id, again.active) == (first.id, False)
    store.run(uploads.claim_upload(first.id, "alice", "package", "me", 0))
    assert store.run(uploads.advance_upload(first.id, "me", 4, "piece"))
    seen = store.run(uploads.open_upload("alice", "package", "a" * 64, 10, settings))
    assert (seen.offset, seen.active) == (4, True)
    clock.advance(31)
    assert not store.run(uploads.open_upload("alice", "package", "a" * 64, 10, settings)).active
    store.run(uploads.claim_upload(first.id, "alice", "package", "other", 4))
    assert not store.run(uploads.advance_upload(first.id, "me", 4, "late"))
    assert store.run(uploads.upload_pieces(first.id)) == ["piece"]
    clock.advance(settings.upload_seconds)
    assert store.run(uploads.open_upload("alice", "package", "a" * 64, 10, settings)).id != first.id
    assert store.run(uploads.upload_pieces(first.id)) == []

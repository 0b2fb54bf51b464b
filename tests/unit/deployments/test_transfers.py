"""Transfers in the store: their parts, how many a key may have, and what becomes of those that are idle."""

from collections.abc import AsyncIterator

import pytest

from deployments.packages.transfers import PIECE, Transfers
from deployments.packages.uploads import Uploads
from tasks.errors import NotFound, PayloadUnavailable
from tasks.files import transfers
from tasks.files import verbs as uploads
from tasks.files.transfers import IDLE_MS, LASTS_MS, Part
from tasks.files.verbs import MOST_OF_KEY, UploadsFull
from tasks.payloads import Payloads
from tasks.settings import Settings
from tasks.store.job_store import AsyncJobStore, JobStore
from tests.conftest import Clock


def part(size: int, *refs: str) -> Part:
    return Part(size, "0" * 32, refs or ("uploads/a",))


def opened(store: JobStore, settings: Settings, name: str, key: str = "alice") -> list[Part]:
    return store.run(transfers.open_transfer(name, key, "secret", "package", settings))


def test_a_part_replaces_the_one_with_its_number(store: JobStore, settings: Settings) -> None:
    opened(store, settings, "t")
    assert store.run(transfers.add_part("t", 2, part(5, "b", "c"), settings)) is None
    assert store.run(transfers.add_part("t", 1, part(7, "a"), settings)) is None
    assert store.run(transfers.add_part("t", 2, part(3, "d"), settings)) == part(5, "b", "c")
    known = store.run(transfers.transfer("t", with_parts=True))
    assert (known.api_key, known.secret, known.purpose) == ("alice", "secret", "package")
    assert known.parts == {1: part(7, "a"), 2: part(3, "d")} and not known.ended
    assert "secret" not in repr(known)


def test_an_end_is_known_for_a_while_and_takes_no_more_parts(
    store: JobStore, settings: Settings, clock: Clock
) -> None:
    for name, end in {"a": {"content_hash": "h"}, "b": {"refused": "why"}}.items():
        opened(store, settings, name)
        store.run(transfers.add_part(name, 1, part(5), settings))
        store.run(transfers.end_transfer(name, **end))
        known = store.run(transfers.transfer(name, with_parts=True))
        assert (known.ended, known.parts) == (True, {})
        assert (known.content_hash or known.refused) in ("h", "why")
        with pytest.raises(NotFound, match="no parts any more"):
            store.run(transfers.add_part(name, 1, part(5), settings))
    assert store.run(transfers.end_transfer("c", refused="why")) == "missing"


def test_a_transfer_that_gets_no_parts_ends(
    store: JobStore, settings: Settings, clock: Clock
) -> None:
    opened(store, settings, "t")
    clock.advance(LASTS_MS / 1000 - 1)
    store.run(transfers.add_part("t", 1, part(5), settings))
    clock.advance(LASTS_MS / 1000 - 1)
    assert store.run(transfers.transfer("t")).id == "t"
    clock.advance(2)
    with pytest.raises(NotFound, match="push again"):
        store.run(transfers.transfer("t"))


def test_a_key_that_has_too_many_loses_an_idle_one_with_its_payloads(
    store: JobStore, settings: Settings, clock: Clock
) -> None:
    names = [f"t{number}" for number in range(MOST_OF_KEY)]
    for name in names:
        opened(store, settings, name)
    with pytest.raises(UploadsFull, match="too many unfinished uploads"):
        opened(store, settings, "more")
    with pytest.raises(UploadsFull):
        store.run(uploads.open_upload("alice", "package", "f" * 64, 5, settings))
    assert opened(store, settings, "hers", "bob") == []
    clock.advance(IDLE_MS / 1000 + 1)
    store.run(transfers.add_part("t1", 1, part(5, "x", "y"), settings))
    clock.advance(IDLE_MS / 1000 + 1)
    for name in names[:1] + names[2:]:
        store.run(transfers.add_part(name, 1, part(5), settings))
    assert opened(store, settings, "more") == [part(5, "x", "y")]
    with pytest.raises(NotFound):
        store.run(transfers.transfer("t1"))


def test_bytes_count_together_with_those_of_other_uploads(
    store: JobStore, settings: Settings
) -> None:
    few = settings.model_copy(update={"max_upload_bytes_per_key": 100, "max_upload_bytes": 150})
    store.run(uploads.open_upload("alice", "package", "f" * 64, 60, few))
    for name, key in {"t": "alice", "hers": "bob"}.items():
        opened(store, few, name, key)
    store.run(transfers.add_part("t", 1, part(40), few))
    with pytest.raises(UploadsFull, match="This key"):
        store.run(transfers.add_part("t", 2, part(1), few))
    store.run(transfers.add_part("t", 1, part(30), few))  # instead of the 40
    with pytest.raises(UploadsFull, match="There are too many"):
        store.run(transfers.add_part("hers", 1, part(61), few))
    store.run(transfers.end_transfer("t", content_hash="h"))
    store.run(transfers.add_part("hers", 1, part(61), few))
    with pytest.raises(UploadsFull, match="This key"):
        store.run(uploads.open_upload("bob", "package", "e" * 64, 40, few))


def test_a_transfer_is_no_upload_to_append_to(store: JobStore, settings: Settings) -> None:
    opened(store, settings, "t")
    with pytest.raises(NotFound, match="no such upload"):
        store.run(uploads.claim_upload("t", "alice", "package", "sender", 0))


async def test_a_part_without_room_is_refused_before_it_is_written(
    async_store: AsyncJobStore, store: JobStore, settings: Settings
) -> None:
    few = settings.model_copy(update={"max_upload_bytes_per_key": 3 * PIECE})
    taking = Transfers(async_store, Uploads(async_store, few), few)
    here = await taking.open("alice", "package")
    written, sent = few.state_dir / "payloads", 0

    async def chunks(pieces: int) -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(pieces):
            sent += 1
            yield b"x" * PIECE

    with pytest.raises(UploadsFull):
        await taking.add(here, 1, chunks(60))
    assert sent <= 5 and not [path for path in written.rglob("*") if path.is_file()]
    assert (
        await taking.add(here, 1, chunks(2))
    ).size == 2 * PIECE  # what was refused does not count
    assert (await taking.add(here, 2, chunks(1))).size == PIECE
    with pytest.raises(UploadsFull):
        await taking.add(here, 3, chunks(1))
    with pytest.raises(UploadsFull):
        store.run(uploads.open_upload("alice", "package", "f" * 64, 1, few))


async def test_a_part_that_cannot_be_kept_or_deleted_takes_no_room(
    async_store: AsyncJobStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = settings.model_copy(update={"max_upload_bytes_per_key": 2 * PIECE})
    taking = Transfers(async_store, Uploads(async_store, few), few)
    here = await taking.open("alice", "package")

    async def away(*_: object) -> None:
        raise PayloadUnavailable("planted")

    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * 2 * PIECE

    with monkeypatch.context() as patch:
        for name in ("write_piece", "delete"):
            patch.setattr(Payloads, name, away)
        for _ in range(3):
            with pytest.raises(PayloadUnavailable):
                await taking.add(here, 1, chunks())
    assert (await taking.add(here, 1, chunks())).size == 2 * PIECE

"""An output on its way from the model host: what stays in memory, what goes to the payload store."""

from pathlib import Path

import pytest

from tasks.errors import NotFound
from tasks.payloads import Payloads
from tasks.settings import Settings
from workers.hosting.spool import Spool

LIMIT = 100


@pytest.fixture
def payloads(tmp_path: Path) -> Payloads:
    return Payloads(Settings(payload_url=tmp_path.as_uri()))


@pytest.fixture
def noted() -> list[str]:
    return []


@pytest.fixture
def spool(payloads: Payloads, noted: list[str]) -> Spool:
    return Spool(payloads, "outputs/ab/x", LIMIT, lambda: noted.append("noted"))


def test_an_output_at_the_limit_stays_in_memory(spool: Spool, noted: list[str]) -> None:
    spool.write(b"a" * 60)
    spool.write(b"b" * 40)
    spool.close()
    assert (bytes(spool.head), spool.ref, noted) == (b"a" * 60 + b"b" * 40, "", [])


def test_one_byte_more_moves_all_of_it(spool: Spool, payloads: Payloads, noted: list[str]) -> None:
    for piece in (b"a" * 60, b"b" * 40, b"c", b"d" * 500):
        spool.write(piece)
    spool.close()
    assert (spool.ref, spool.size, noted) == ("outputs/ab/x", 601, ["noted"])
    assert b"".join(payloads.read(spool.ref)) == b"a" * 60 + b"b" * 40 + b"c" + b"d" * 500


def test_the_beginning_of_a_large_error_is_enough(
    spool: Spool, payloads: Payloads, noted: list[str]
) -> None:
    spool.head_only = True
    spool.write(b"a" * 60)
    spool.write(b"b" * 60)
    spool.write(b"c" * 60)
    spool.close()
    assert (bytes(spool.head), spool.ref, noted) == (b"a" * 60 + b"b" * 40, "", [])


def test_what_was_streamed_before_an_error_is_forgotten(spool: Spool, payloads: Payloads) -> None:
    spool.write(b"a" * 500)
    spool.clear()
    spool.write(b"the error")
    spool.close()
    assert (bytes(spool.head), spool.ref, spool.size) == (b"the error", "", 9)
    with pytest.raises(NotFound):
        payloads.read("outputs/ab/x")


def test_a_store_that_fails_is_remembered_and_never_raised(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("in the way")
    payloads = Payloads(Settings(payload_url=tmp_path.as_uri()))
    spool = Spool(payloads, "outputs/ab/x", LIMIT, lambda: None)
    for _ in range(3):
        spool.write(b"a" * 20_000_000)
    spool.close()
    assert "payload store" in spool.failure

"""The payload store: a folder and an S3-compatible server; what a crash leaves behind is collected."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from structlog.testing import capture_logs

from tasks.errors import NotFound, PayloadUnavailable, SettingsError
from tasks.job import RequestId, Submission
from tasks.payload_collector import PayloadCollector
from tasks.payloads import Payloads, input_ref
from tasks.settings import Settings
from tasks.store import verbs
from tasks.store.job_store import AsyncJobStore, JobStore
from tasks.sweeper import Sweeper
from tests.conftest import Clock

LARGE = os.urandom(1 << 20) * 20  # more than one part of a multipart upload


@pytest.fixture(scope="module")
def bucket() -> Iterator[None]:
    """An S3 server on loopback with one bucket, found as any S3 client finds one: by AWS_ variables."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        import boto3

        boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="payloads")
        yield
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def payloads(request: pytest.FixtureRequest, tmp_path: Path) -> Payloads:
    """A payload store of each kind."""
    if request.param == "s3":
        request.getfixturevalue("bucket")
        return Payloads(Settings(payload_url="s3://payloads/some/prefix"))
    return Payloads(Settings(payload_url=tmp_path.as_uri()))


async def test_a_payload_comes_back_as_it_was_written(payloads: Payloads) -> None:
    await payloads.write("inputs/ab/abc", b"small")
    writer = payloads.writer("outputs/ab/abc.f")
    for start in range(0, len(LARGE), 1 << 18):
        writer.write(LARGE[start : start + (1 << 18)])
    writer.close()
    assert b"".join(payloads.read("inputs/ab/abc")) == b"small"
    assert b"".join(payloads.read("outputs/ab/abc.f")) == LARGE
    pieces = [piece async for piece in await payloads.read_async("outputs/ab/abc.f")]
    assert b"".join(pieces) == LARGE
    assert len(pieces) > 1


async def test_a_deleted_payload_is_gone_and_may_be_deleted_again(payloads: Payloads) -> None:
    await payloads.write("inputs/ab/abc", b"small")
    await payloads.delete(["inputs/ab/abc", "inputs/ab/never"])
    await payloads.delete(["inputs/ab/abc"])
    with pytest.raises(NotFound):
        payloads.read("inputs/ab/abc")
    with pytest.raises(NotFound):
        await payloads.read_async("inputs/ab/abc")


def test_a_payload_that_was_never_closed_does_not_exist(payloads: Payloads) -> None:
    writer = payloads.writer("outputs/ab/open.f")
    writer.write(LARGE)
    del writer
    with pytest.raises(NotFound):
        payloads.read("outputs/ab/open.f")


async def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "inputs").write_text("a file where a folder should be")
    with pytest.raises(PayloadUnavailable):
        await Payloads(Settings(payload_url=tmp_path.as_uri())).write("inputs/ab/abc", b"x")


def test_an_unknown_kind_of_store_is_refused() -> None:
    with pytest.raises(SettingsError, match="s3://bucket/prefix"):
        Payloads(Settings(payload_url="ftp://somewhere"))


async def test_what_no_job_adopts_is_deleted_and_what_one_adopts_stays(
    settings: Settings, store: JobStore, clock: Clock
) -> None:
    payloads, refs = Payloads(settings), [input_ref("a" * 32), input_ref("b" * 32)]
    store.run(verbs.spill(refs, 1000))
    for ref in refs:
        await payloads.write(ref, b"input")
    job = Submission(RequestId("a" * 32), "dep00001", "m", b"", input_ref=refs[0])
    store.run(verbs.submit([job], "alice", 10))
    clock.advance(2)
    async_store = AsyncJobStore(settings, movable_clock=True)
    sweeper = Sweeper(async_store, settings, time.monotonic)
    collector = PayloadCollector(async_store, settings)
    assert await collector.run_once() == 1
    assert b"".join(payloads.read(refs[0])) == b"input"
    with pytest.raises(NotFound):
        payloads.read(refs[1])
    store.run(verbs.cancel(job.request_id))  # final, but it can be retried
    assert await collector.run_once() == 0
    clock.advance(settings.retention_seconds)
    assert (await sweeper.run_once()).forgotten == 1
    assert await collector.run_once() == 1
    with pytest.raises(NotFound):
        payloads.read(refs[0])
    await async_store.close()


async def test_whatever_has_gathered_is_deleted_in_one_round(
    settings: Settings, store: JobStore, clock: Clock
) -> None:
    payloads, refs = Payloads(settings), [input_ref(f"{number:032x}") for number in range(250)]
    store.run(verbs.spill(refs, 0))
    for ref in refs[:150]:  # the others were never written
        await payloads.write(ref, b"input")
    clock.advance(1)
    async_store = AsyncJobStore(settings, movable_clock=True)
    assert await PayloadCollector(async_store, settings).run_once() == 250
    assert await PayloadCollector(async_store, settings).run_once() == 0
    await async_store.close()
    assert obstore.list(payloads._store(), "inputs").collect() == []


async def test_what_cannot_be_deleted_now_is_tried_the_next_time(
    settings: Settings, store: JobStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(self: Payloads, refs: list[str]) -> None:
        raise PayloadUnavailable("planted")

    store.run(verbs.spill([input_ref("a" * 32)], 0))
    clock.advance(1)
    async_store = AsyncJobStore(settings, movable_clock=True)
    collector = PayloadCollector(async_store, settings)
    with monkeypatch.context() as patch, capture_logs() as logged:
        patch.setattr(Payloads, "delete", away)
        assert await collector.run_once() == 0
    assert [entry["event"] for entry in logged] == ["payloads.unavailable"]
    assert await collector.run_once() == 1
    await async_store.close()


async def test_an_output_goes_with_its_job(
    settings: Settings, store: JobStore, clock: Clock
) -> None:
    from tasks.job import Outcome
    from tasks.state import Status

    payloads, ref = Payloads(settings), "outputs/cc/c.fence"
    store.run(verbs.submit([Submission(RequestId("c"), "dep00001", "m", b"{}")], "alice", 10))
    claim = store.run(verbs.claim("dep00001", "r:0", "fence", "r"))
    assert claim
    store.run(verbs.spill([ref], 10_000))
    await payloads.write(ref, b"output")
    done = Outcome(Status.SUCCEEDED, 1.0, b"", "text/plain", output_ref=ref, output_bytes=6)
    store.run(verbs.finish(claim.lease, done))
    async_store = AsyncJobStore(settings, movable_clock=True)
    sweeper = Sweeper(async_store, settings, time.monotonic)
    collector = PayloadCollector(async_store, settings)
    clock.advance(20)
    assert await collector.run_once() == 0
    job = store.run(verbs.read("c")).job
    assert (job.output_ref, job.output_bytes) == (ref, 6)
    assert b"".join(payloads.read(ref)) == b"output"
    clock.advance(settings.retention_seconds)
    await sweeper.run_once()
    assert await collector.run_once() == 1
    with pytest.raises(NotFound):
        payloads.read(ref)
    await async_store.close()
    assert obstore.list(payloads._store(), "outputs").collect() == []

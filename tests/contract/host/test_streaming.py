"""Generators, gathered and streamed, sync and as jobs; progress."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from kingpost import StreamFailed
from kingpost.streams.frames import FRAMES, Reader
from tests.conditions import wait_until
from tests.contract.host.conftest import StartHost
from tests.contract.host.running import PREDICT, RunningHost
from workers.host.call.framing import FAILED

JOBS = pytest.mark.kingpost_only("jobs")
JSON_ONLY = {"accept": "application/json"}
MODEL = """
import asyncio, pathlib, time
from fastapi import Request
from starlette.background import BackgroundTask
from starlette.responses import StreamingResponse
FOLDER = pathlib.Path("data")

def mark(name): (FOLDER / name).touch()

async def ticks(name):
    try:
        for n in range(10_000):
            yield f"{n} "
            mark(f"tick-{name}")
            await asyncio.sleep(0.01)
            if (FOLDER / f"end-{name}").exists():
                return
    finally:
        mark(f"closed-{name}")

def sync_ticks(name):
    try:
        for n in range(10_000):
            yield f"{n} "
            mark(f"tick-{name}")
            time.sleep(0.01)
    finally:
        mark(f"closed-{name}")

def words():
    yield "a"
    yield b"\\xc3"
    yield b"\\xa9"

async def async_words():
    yield "a"
    yield "b"

def broken():
    yield "a"
    raise ValueError("mid")

def numbers():
    yield "a"
    yield 5

def iter_surrogate():
    yield "\\ud800"

def slow():
    yield "a"
    while not (FOLDER / "wake").exists():
        time.sleep(0.01)

class Model:
    def predict(self, what, request: Request):
        kind, _, name = what.partition(":")
        if kind == "sse":
            return StreamingResponse(async_words(), 202, media_type="text/event-stream")
        if kind == "background":
            async def later():
                await asyncio.sleep(0.2)
                mark(f"background-{name}")
            return StreamingResponse(async_words(), background=BackgroundTask(later))
        if kind == "surrogate":
            return iter_surrogate()
        if kind == "broken sse":
            return StreamingResponse(broken(), media_type="text/event-stream")
        if kind == "sse ticks":
            return StreamingResponse(ticks(name), media_type="text/event-stream")
        if kind == "progress":
            for n in range(200):
                request.state.progress(n / 199, f"step {n}")
            return "done"
        if kind == "bad progress":
            request.state.progress("x")
        made = {"words": words, "async": async_words, "broken": broken, "numbers": numbers, "slow": slow}
        if kind in made:
            return made[kind]()
        return {"ticks": ticks, "sync ticks": sync_ticks}[kind](name)
"""


@pytest.fixture(scope="module")
def host(start_host: StartHost) -> RunningHost:
    return start_host(MODEL, "runtime: {streaming_read_timeout: 1}")


def read_start(host: RunningHost, path: str, what: str) -> bytes:
    """Reads the first bytes of a job's answer and leaves."""
    with host.worker.stream("POST", path, json=what) as answer:
        return next(answer.iter_raw())


def test_chunks_stream_as_octets(host: RunningHost) -> None:
    answer = host.predict("words")
    assert (answer.status_code, answer.content) == (200, "aé".encode())
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["transfer-encoding"] == "chunked"
    assert host.predict("async").text == "ab"


@pytest.mark.parametrize(
    ("headers", "gathered"),
    [
        (JSON_ONLY, True),
        ({"accept": "application/json, text/plain"}, False),
        ({"accept": "Application/JSON"}, False),
        (JSON_ONLY | {"user-agent": "AsyncOpenAI/Python 1.61"}, False),
    ],
)
def test_gathering_wants_exactly_json(
    host: RunningHost, headers: dict[str, str], gathered: bool
) -> None:
    answer = host.predict("words", headers=headers)
    if gathered:
        assert answer.json() == "aé"
        assert int(answer.headers["content-length"]) == len(answer.content)
    else:
        assert answer.content == "aé".encode()
        assert answer.headers["transfer-encoding"] == "chunked"


def test_a_failing_generator_ends_the_body_or_fails_the_gathering(host: RunningHost) -> None:
    assert (host.predict("broken").status_code, host.predict("broken").text) == (200, "a")
    assert "ValueError: mid" in host.text()
    gathered = host.predict("broken", headers=JSON_ONLY)
    assert gathered.status_code == 500
    assert gathered.json() == {"error": "Unhandled exception: ValueError: mid"}
    assert gathered.headers["x-baseten-error-code"] == "500"
    assert host.predict("numbers", headers=JSON_ONLY).json() == "a5"


@pytest.mark.kingpost_only("frames of a streamed output")
def test_frames_tell_the_end_from_a_failure(host: RunningHost) -> None:
    def told(what: str, value: str = "detailed") -> tuple[bytes, str]:
        answer, found = host.predict(what, headers={FRAMES: value}), list[bytes]()
        assert answer.headers[FRAMES] == "1"
        reader = Reader()
        try:
            for at in range(len(answer.content)):  # byte by byte
                found += reader.feed(answer.content[at : at + 1])
            reader.end()
        except StreamFailed as error:
            return b"".join(found), str(error).removeprefix(f"{FAILED}: ")
        return b"".join(found), ""

    assert told("words") == ("aé".encode(), "")
    assert told("sse") == (b"ab", "")
    assert told("broken") == (b"a", "ValueError: mid")
    assert told("broken", "plain") == (b"a", "this key may not read why")
    assert told("broken sse") == (b"a", "ValueError: mid")
    assert told("numbers", "plain") == (b"a", "A stream yields str or bytes, not int.")
    assert told("slow", "plain") == (b"a", "The model yielded nothing for 1 s.")
    (host.package / "data" / "wake").touch()
    wait_until(lambda: host.predict("words").text == "aé", 10)  # the slot is free
    (host.package / "data" / "wake").unlink()
    answer = host.predict("broken", headers=JSON_ONLY | {FRAMES: "plain"})
    assert (answer.status_code, FRAMES in answer.headers) == (500, False)


def test_a_wrong_chunk_and_a_long_gap_cut_the_connection(host: RunningHost) -> None:
    for what in ("numbers", "slow"):
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            host.predict(what)
    (host.package / "data" / "wake").touch()
    host.settle(busy=0)


@pytest.mark.kingpost_only(
    "0.4: text that is no UTF-8 is never an error; Truss's server cuts the connection"
)
def test_half_a_surrogate_pair_in_a_stream_is_a_replacement_character(
    host: RunningHost,
) -> None:
    assert host.predict("surrogate").content == "\ufffd".encode()


def test_a_streaming_response_passes_through(host: RunningHost) -> None:
    answer = host.predict("sse")
    assert (answer.status_code, answer.text) == (202, "ab")
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_background_tasks_of_a_response_run_to_their_end(host: RunningHost) -> None:
    assert host.predict("background:sync").text == "ab"
    wait_until((host.package / "data" / "background-sync").exists)
    host.settle(busy=0)


def test_a_stream_keeps_its_slot_until_it_ends(host: RunningHost) -> None:
    with host.http.stream("POST", PREDICT, json="ticks:slot") as answer:
        chunks = answer.iter_raw()  # kept: httpx closes the answer when it is collected
        assert next(chunks)
        with pytest.raises(httpx.ReadTimeout):
            host.http.post(PREDICT, json="words", timeout=0.2)
        (host.package / "data" / "end-slot").touch()
        assert b"".join(chunks).endswith(b" ")
    assert host.predict("words").status_code == 200


@JOBS
@pytest.mark.parametrize("kind", ["ticks", "sync ticks", "sse ticks"])
def test_a_worker_that_leaves_closes_the_generator(host: RunningHost, kind: str) -> None:
    name = f"job{kind}"
    assert b"0 " in read_start(host, f"/jobs/{name}", f"{kind}:{name}")
    wait_until(lambda: (host.package / "data" / f"closed-{name}").exists())
    wait_until(lambda: host.state()["busy"] == 0)


@JOBS
def test_chunks_of_a_job_are_output_frames_and_its_result(host: RunningHost) -> None:
    job = host.job("words", headers=JSON_ONLY)
    assert (job.kinds, job.content.decode()) == ("OOORE", "aé")
    assert (job.status_code, job.head.streamed, job.head.text) == (200, True, False)
    texts = host.job("async")
    assert (texts.output, texts.head.text) == ([b"a", b"b"], True)
    sse = host.job("sse")
    assert host.job("background:job").content == b"ab"
    wait_until((host.package / "data" / "background-job").exists)
    assert (sse.status_code, sse.content, sse.head.text) == (202, b"ab", True)
    assert sse.headers["content-type"].startswith("text/event-stream")


@JOBS
def test_a_stream_that_fails_fails_its_job(host: RunningHost) -> None:
    job = host.job("broken")
    assert (job.kinds, job.status_code) == ("OFRBE", 500)
    assert job.json() == {"error": "Unhandled exception: ValueError: mid"}
    assert job.failure.startswith('ValueError: mid\n  File "model/model.py", line ')
    assert host.job("numbers").status_code == 500
    (host.package / "data" / "wake").unlink(missing_ok=True)
    gap = host.job("slow")
    assert gap.status_code == 500
    assert "yielded nothing for 1 s" in gap.json()["error"]
    assert (gap.end.still_running, host.state()["busy"]) == (True, 1)
    (host.package / "data" / "wake").touch()
    wait_until(lambda: host.state()["busy"] == 0)


@JOBS
@pytest.mark.parametrize("kind", ["ticks", "sync ticks", "sse ticks"])
def test_a_stopped_stream_is_closed(host: RunningHost, kind: str) -> None:
    name = f"stop{kind}"
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(host.job, f"{kind}:{name}", "stopped")
        wait_until(lambda: (host.package / "data" / f"tick-{name}").exists())
        assert host.worker.delete("/jobs/stopped").status_code == 202
        answer: Any = job.result()
    assert answer.status_code == 499
    assert answer.end.stopped_by == "closed"
    assert (host.package / "data" / f"closed-{name}").exists()


@pytest.mark.kingpost_only("progress")
def test_progress_is_thinned_out_and_the_last_is_sent(host: RunningHost) -> None:
    job = host.job("progress:")
    assert job.progress[-1] == (1.0, "step 199")
    assert len(job.progress) < 20
    fractions = [fraction for fraction, _ in job.progress]
    assert fractions == sorted(fractions)
    assert job.json() == "done"
    assert host.predict("progress:").json() == "done"
    assert host.job("bad progress:").status_code == 500

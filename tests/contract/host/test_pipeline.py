"""The pipeline, its slots, and clients that leave; the order of sync calls and jobs."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.conditions import wait_until
from tests.contract.host.conftest import StartHost
from tests.contract.host.running import PREDICT, RunningHost

JOBS = pytest.mark.kingpost_only("jobs")
STEPS = """
import pathlib, threading, time
from fastapi import Request
FOLDER = pathlib.Path("data")

def mark(name): (FOLDER / name).touch()
def wait_for(name, stop=lambda: False):
    while not (FOLDER / name).exists() and not stop():
        time.sleep(0.005)

class Model:
    def preprocess(self, model_input):
        mark(f"pre-{model_input}")
        return model_input
    def predict(self, name, request: Request):
        with request.state.watch_disconnect() as gone:
            mark(f"run-{name}")
            wait_for(f"go-{name}", gone.is_set)
            mark(f"left-{name}" if gone.is_set() else f"done-{name}")
        return [name, threading.current_thread() is not threading.main_thread()]
    def postprocess(self, result):
        return result + ["post"]
    def chat_completions(self, model_input):
        return "chat"
"""


class Steps:
    """Calls that begin and end when the test says so."""

    def __init__(self, host: RunningHost, pool: ThreadPoolExecutor) -> None:
        self.host = host
        self._pool = pool
        self._data: Path = host.package / "data"

    def start(self, call: Callable[..., object], *args: object) -> Future[object]:
        return self._pool.submit(call, *args)

    def reached(self, mark: str) -> bool:
        return (self._data / mark).exists()

    def wait(self, mark: str) -> None:
        wait_until(lambda: self.reached(mark), message=f"{mark}: {self.host.text()}")

    def go(self, name: str) -> None:
        (self._data / f"go-{name}").touch()


@pytest.fixture
def steps(start_host: StartHost) -> Iterator[Steps]:
    with ThreadPoolExecutor() as pool:
        yield Steps(start_host(STEPS), pool)


def test_pre_predict_post_and_one_slot_around_predict_only(steps: Steps) -> None:
    host = steps.host
    first = steps.start(host.predict, "a")
    steps.wait("run-a")
    second = steps.start(host.predict, "b")
    steps.wait("pre-b")  # preprocess has no slot
    assert host.http.post("/v1/chat/completions", json=1).json() == "chat"
    host.settle(busy=1, sync_waiting=1)
    assert not steps.reached("run-b")
    steps.go("a")
    steps.go("b")
    assert first.result().json() == ["a", True, "post"]  # type: ignore[attr-defined]
    assert second.result().json() == ["b", True, "post"]  # type: ignore[attr-defined]
    host.settle(busy=0)


@JOBS
def test_sync_goes_before_jobs_that_wait_longer(steps: Steps) -> None:
    host = steps.host
    running = steps.start(host.predict, "a")
    steps.wait("run-a")
    job = steps.start(host.job, "j", "job-j")
    wait_until(lambda: host.state()["jobs_waiting"] == 1)
    sync = steps.start(host.predict, "b")
    wait_until(lambda: host.state()["sync_waiting"] == 1)
    steps.go("a")
    steps.wait("run-b")
    assert not steps.reached("run-j")
    steps.go("b")
    steps.wait("run-j")
    steps.go("j")
    for call in (running, sync, job):
        call.result()


@pytest.mark.kingpost_only("private routes")
def test_a_slot_is_reserved_kept_and_given_back(steps: Steps) -> None:
    host = steps.host
    token = host.worker.post("/slots").json()["slot"]
    assert host.worker.post("/slots?wait=0.01").status_code == 204
    keep = {"x-kingpost-slot": token, "x-kingpost-keep-slot": "1"}
    steps.go("k")
    kept = host.job("k", headers=keep)
    assert kept.end.slot_kept is True
    assert host.state()["busy"] == 1
    sync = steps.start(host.predict, "s")
    wait_until(lambda: host.state()["sync_waiting"] == 1)
    assert host.job("k", headers=keep).end.slot_kept is False  # a sync call waits
    steps.wait("run-s")
    steps.go("s")
    sync.result()
    assert host.state()["busy"] == 0
    assert host.worker.delete(f"/slots/{token}").status_code == 204
    other = host.worker.post("/slots").json()["slot"]
    assert host.worker.delete(f"/slots/{other}").status_code == 204
    assert host.state()["busy"] == 0
    assert host.worker.post("/slots?wait=soon").status_code == 400


def test_a_client_that_leaves_is_noticed_and_its_successor_runs(steps: Steps) -> None:
    host = steps.host
    with pytest.raises(httpx.ReadTimeout):
        host.http.post(PREDICT, content=json.dumps("gone"), timeout=0.2)
    steps.wait("left-gone")
    host.settle(busy=0)
    steps.go("next")
    assert host.predict("next").status_code == 200


def test_a_queued_predict_of_a_client_that_left_never_runs(steps: Steps) -> None:
    host = steps.host
    running = steps.start(host.predict, "a")
    steps.wait("run-a")
    with pytest.raises(httpx.ReadTimeout):
        host.http.post(PREDICT, content=json.dumps("never"), timeout=0.2)
    host.settle(sync_waiting=0)
    steps.go("a")
    running.result()
    steps.go("b")
    host.predict("b")
    assert steps.reached("pre-never")
    assert not steps.reached("run-never")


@JOBS
def test_a_stopped_sync_job_is_told_and_ends_with_499(steps: Steps) -> None:
    host = steps.host
    job = steps.start(host.job, "j", "the-job")
    steps.wait("run-j")
    assert host.worker.delete("/jobs/the-job").status_code == 202
    answer = job.result()
    assert answer.status_code == 499  # type: ignore[attr-defined]
    assert answer.end.stopped_by == "cooperative"  # type: ignore[attr-defined]
    assert answer.end.slot_kept is False  # type: ignore[attr-defined]
    assert steps.reached("left-j")
    assert host.state()["busy"] == 0
    assert host.worker.delete("/jobs/the-job").status_code == 404


@JOBS
def test_a_job_that_waits_for_a_slot_can_be_stopped(steps: Steps) -> None:
    host = steps.host
    running = steps.start(host.predict, "a")
    steps.wait("run-a")
    job = steps.start(host.job, "j", "waiting")
    wait_until(lambda: host.worker.delete("/jobs/waiting").status_code == 202)
    assert job.result().status_code == 499  # type: ignore[attr-defined]
    steps.go("a")
    running.result()
    assert host.state()["busy"] == 0


@JOBS
def test_the_same_job_twice_is_refused(steps: Steps) -> None:
    host = steps.host
    job = steps.start(host.job, "j", "twin")
    steps.wait("run-j")
    assert host.worker.post("/jobs/twin", json="j").status_code == 409
    other = {"x-kingpost-fence": "another attempt"}
    assert host.worker.delete("/jobs/twin", headers=other).status_code == 404
    steps.go("j")
    assert job.result().status_code == 200  # type: ignore[attr-defined]


ASYNC = """
import asyncio, pathlib
from fastapi import Request
FOLDER = pathlib.Path("data")

class Model:
    async def predict(self, name, request: Request):
        (FOLDER / f"run-{name}").touch()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert await request.is_disconnected()
            (FOLDER / f"cancelled-{name}").touch()
            if name != "stubborn":
                raise
        return "swallowed"
"""


@JOBS
def test_an_async_job_is_cancelled_by_stop_and_by_leaving(start_host: StartHost) -> None:
    with ThreadPoolExecutor() as pool:
        steps = Steps(start_host(ASYNC), pool)
        host = steps.host
        for name in ("j", "stubborn"):
            job = steps.start(host.job, name, name)
            steps.wait(f"run-{name}")
            host.worker.delete(f"/jobs/{name}")
            answer = job.result()
            assert answer.status_code == 499  # type: ignore[attr-defined]
            assert answer.end.stopped_by == "cooperative"  # type: ignore[attr-defined]
        with pytest.raises(httpx.ReadTimeout):
            host.worker.post("/jobs/x", content=json.dumps("x"), timeout=0.2)
        steps.wait("cancelled-x")
        wait_until(lambda: host.state()["busy"] == 0)


LOOKS = """
import asyncio, pathlib
from fastapi import Request
FOLDER = pathlib.Path("data")

async def until_gone(name, request):
    (FOLDER / f"run-{name}").touch()
    while not await request.is_disconnected():
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.01)
    (FOLDER / f"aborted-{name}").touch()

async def chunks(name, request):
    (FOLDER / f"run-{name}").touch()
    while not await request.is_disconnected():
        yield "tick "
        await asyncio.sleep(0.01)
    (FOLDER / f"aborted-{name}").touch()

class Model:
    async def predict(self, name, request: Request):
        if name.startswith("stream"):
            return chunks(name, request)
        await until_gone(name, request)
"""


@pytest.fixture(scope="module")
def looking(start_host: StartHost) -> RunningHost:
    return start_host(LOOKS, "runtime: {stop_grace_seconds: 60}")


@pytest.mark.parametrize("name", ["value", "stream"])
def test_async_code_sees_the_disconnect_before_it_is_cancelled(
    looking: RunningHost, name: str
) -> None:
    with ThreadPoolExecutor() as pool:
        steps = Steps(looking, pool)
        if name == "stream":
            with looking.http.stream("POST", PREDICT, content=json.dumps(name)) as answer:
                assert next(answer.iter_raw()).startswith(b"tick ")
        else:
            call = steps.start(lambda: looking.predict(name, timeout=0.5))
            steps.wait(f"run-{name}")
            with pytest.raises(httpx.ReadTimeout):
                call.result()
        steps.wait(f"aborted-{name}")
        looking.settle(busy=0)


@pytest.mark.kingpost_only("runtime.stop_grace_seconds is ours")
def test_async_code_that_never_looks_is_cancelled_when_the_package_s_grace_is_over(
    start_host: StartHost,
) -> None:
    """Without a grace at once; the host that `looking` is gives it a minute."""
    source = """
        import asyncio, pathlib
        class Model:
            async def predict(self, name):
                pathlib.Path("data", f"run-{name}").touch()
                try:
                    await asyncio.sleep(30)
                finally:
                    pathlib.Path("data", f"cancelled-{name}").touch()
    """
    host = start_host(source, "runtime: {stop_grace_seconds: 0}")
    with ThreadPoolExecutor() as pool:
        steps = Steps(host, pool)
        job = steps.start(host.job, "job", "job")
        steps.wait("run-job")
        assert host.worker.delete("/jobs/job").status_code == 202
        assert job.result().status_code == 499  # type: ignore[attr-defined]
        assert steps.reached("cancelled-job")


@JOBS
@pytest.mark.parametrize("name", ["job", "stream-job"])
def test_async_code_sees_the_cancel_of_its_job(looking: RunningHost, name: str) -> None:
    with ThreadPoolExecutor() as pool:
        steps = Steps(looking, pool)
        job = steps.start(looking.job, name, name)
        steps.wait(f"run-{name}")
        assert looking.worker.delete(f"/jobs/{name}").status_code == 202
        assert job.result().status_code == 499  # type: ignore[attr-defined]
        assert steps.reached(f"aborted-{name}")
        looking.settle(busy=0)


def test_each_step_may_be_sync_async_a_generator_or_end_the_call(start_host: StartHost) -> None:
    host = start_host("""
        import fastapi
        from fastapi import Request
        from starlette.responses import PlainTextResponse
        class Model:
            def preprocess(self, x):
                if x == "pay":
                    raise fastapi.HTTPException(402, "pay")
                yield x
                yield "pre"
            async def predict(self, x):
                return [type(x).__name__, *x]
            def postprocess(self, x, request: Request):
                if "stream" in x:
                    return (word for word in x)
                if "refuse" in x:
                    return PlainTextResponse("no", 404)
                return x + [request.method]
    """)
    assert host.predict("a").json() == ["generator", "a", "pre", "POST"]
    assert host.predict("stream").text == "generatorstreampre"
    refused = host.predict("refuse")
    assert (refused.status_code, refused.text) == (404, "no")
    assert refused.headers["x-baseten-error-code"] == "700"
    assert (host.predict("pay").status_code, host.predict("pay").json()) == (402, {"error": "pay"})


def test_a_coroutine_of_a_plain_function_is_not_awaited(start_host: StartHost) -> None:
    host = start_host("""
        import asyncio
        class Model:
            def predict(self, x):
                return asyncio.sleep(0)
    """)
    assert "Object of type coroutine" in host.predict(1).json()["error"]


READS_ITS_REQUEST = """
import asyncio
from fastapi import Request
class Model:
    async def predict(self, what, request: Request):
        if what == "again":
            streamed = b"".join([part async for part in request.stream()])
            return [(await request.body()).decode(), await request.json(), streamed.decode()]
        if what == "who":
            return [request.client.host, request.path_params, dict(request.query_params)]
        if what == "headers":
            return {name: request.headers.get(name) for name in ("x-mine", "authorization")}
        try:
            return await asyncio.wait_for(request.receive(), 0.1)
        except asyncio.TimeoutError:
            return ["still there", await request.is_disconnected()]
"""


def test_the_request_can_be_read_like_any_other(start_host: StartHost) -> None:
    host = start_host(READS_ITS_REQUEST)
    assert host.predict("again").json() == ['"again"', "again", '"again"']
    who = host.predict("who", params={"a": "b"}).json()
    assert who == ["127.0.0.1", {"model_name": "model"}, {"a": "b"}]
    assert host.predict("headers", headers={"x-mine": "1", "authorization": "k"}).json() == {
        "x-mine": "1", "authorization": "k",
    }  # fmt: skip
    assert host.predict("receive").json() == ["still there", False]


def test_concurrency_is_as_configured(start_host: StartHost) -> None:
    with ThreadPoolExecutor() as pool:
        steps = Steps(start_host(STEPS, "runtime: {predict_concurrency: 3}"), pool)
        calls = [steps.start(steps.host.predict, name) for name in "abcd"]
        for name in "abcd":
            steps.wait(f"pre-{name}")
        wait_until(lambda: sum(steps.reached(f"run-{name}") for name in "abcd") == 3)
        steps.host.settle(busy=3, sync_waiting=1)
        assert sum(steps.reached(f"run-{name}") for name in "abcd") == 3
        for name in "abcd":
            steps.go(name)
        assert {call.result().status_code for call in calls} == {200}  # type: ignore[attr-defined]


def test_postprocess_after_a_stream_or_response_is_an_error(start_host: StartHost) -> None:
    host = start_host("""
        from starlette.responses import Response
        class Model:
            def predict(self, model_input):
                return (c for c in "ab") if model_input else Response("x")
            def postprocess(self, result):
                return result
    """)
    for value, words in ((True, "generator"), (False, "response object")):
        answer = host.predict(value)
        assert answer.status_code == 500
        assert answer.json() == {"error": "Internal Server Error (in model/chainlet)."}
        assert words in host.text()
    host.settle(busy=0)


@pytest.mark.kingpost_only("jobs")
def test_what_a_model_raises_goes_to_the_worker_and_to_nobody_else(start_host: StartHost) -> None:
    host = start_host("""
        import sys
        from fastapi import HTTPException
        class Model:
            def predict(self, how):
                if how == "exit":
                    sys.exit("enough")
                if how == "http":
                    raise HTTPException(503, "later")
                return 1 / how
    """)
    job = host.job(0)
    head, frame, line = job.failure.splitlines()
    assert head == "ZeroDivisionError: division by zero"
    assert frame.startswith('  File "model/model.py", line ') and frame.endswith(", in predict")
    assert line.strip() == "return 1 / how"
    assert job.json() == {"error": "Internal Server Error (in model/chainlet)."}
    assert host.job("exit").failure.startswith("SystemExit: enough")
    assert not host.job("http").failure, "an HTTPException is an answer"
    assert not host.job(1).failure
    sync = host.predict(0)
    assert sync.json() == {"error": "Internal Server Error (in model/chainlet)."}
    assert "ZeroDivision" not in sync.text + repr(sync.headers)

"""Dynamic batching over sync calls and jobs together."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.conditions import wait_until
from tests.contract.host.conftest import StartHost
from tests.contract.host.running import PREDICT, RunningHost

pytestmark = pytest.mark.kingpost_only("batching")
MODEL = """
import pathlib, sys, time
import fastapi
FOLDER = pathlib.Path("data")

class Model:
    def __init__(self):
        self.batches = []

    def preprocess(self, value):
        return value

    def predict_batch(self, inputs):
        self.batches.append(list(inputs))
        (FOLDER / f"batch-{len(self.batches)}").touch()
        if "block" in inputs:
            while not (FOLDER / "go").exists():
                time.sleep(0.005)
        if "short" in inputs:
            return [1, 2, 3, 4, 5]
        if "exit" in inputs:
            sys.exit(1)
        return [self.one(value) for value in inputs]

    def one(self, value):
        if value == "bad":
            return ValueError("private")
        if value == "refused":
            return fastapi.HTTPException(422, "no")
        return self.batches if value == "batches" else value

    def postprocess(self, value):
        return {"out": value}
"""
CONFIG = "runtime: {batching: {max_batch_size: 4, max_wait_ms: 100}}"


@pytest.fixture
def host(start_host: StartHost) -> RunningHost:
    return start_host(MODEL, CONFIG)


def together(host: RunningHost, values: list[Any]) -> list[Any]:
    """The answers of calls that are made at once, every second one as a job."""
    with ThreadPoolExecutor(16) as pool:
        calls = [
            pool.submit(host.job if index % 2 else host.predict, value)
            for index, value in enumerate(values)
        ]
        return [call.result() for call in calls]


def test_calls_of_both_doors_share_batches_and_get_their_own_outcome(host: RunningHost) -> None:
    assert host.state()["slots"] == 8
    answers = together(host, list(range(8)))
    assert [answer.json()["out"] for answer in answers] == list(range(8))
    batches = host.predict("batches").json()["out"]
    assert max(len(batch) for batch in batches) == 4
    assert len(batches) <= 5
    assert sorted(value for batch in batches[:-1] for value in batch) == list(range(8))


def test_an_item_fails_alone(host: RunningHost) -> None:
    bad, fine, refused, also = together(host, ["bad", "fine", "refused", "also"])
    assert (bad.status_code, fine.status_code, refused.status_code, also.status_code) == (
        500,
        200,
        422,
        200,
    )
    assert bad.json() == {"error": "Internal Server Error (in model/chainlet)."}
    assert refused.json() == {"error": "no"}
    assert [len(batch) for batch in host.predict("batches").json()["out"]] == [4, 1]


@pytest.mark.parametrize("value", ["short", "exit"])
def test_a_batch_that_fails_fails_all_its_items(host: RunningHost, value: str) -> None:
    first, second = together(host, [value, "x"])
    assert (first.status_code, second.status_code) == (500, 500)
    assert host.predict("x").json() == {"out": "x"}
    assert host.state()["busy"] == 0


def test_one_batch_at_a_time_and_a_cancelled_item_leaves_the_next(host: RunningHost) -> None:
    with ThreadPoolExecutor(8) as pool:
        blocked = pool.submit(host.predict, "block")
        wait_until((host.package / "data" / "batch-1").exists)
        gone = pool.submit(host.job, "gone", "gone")
        stays = pool.submit(host.predict, "stays")
        wait_until(lambda: host.state()["busy"] == 3)
        assert host.worker.delete("/jobs/gone").status_code == 202
        assert gone.result().status_code == 499
        with pytest.raises(httpx.ReadTimeout):
            host.http.post(PREDICT, content='"left"', timeout=0.1)
        wait_until(lambda: host.state()["busy"] == 2)
        (host.package / "data" / "go").touch()
        assert blocked.result().json() == {"out": "block"}
        assert stays.result().json() == {"out": "stays"}
    assert host.predict("batches").json()["out"] == [["block"], ["stays"], ["batches"]]


def test_without_configuration_predict_batch_gets_one_item(start_host: StartHost) -> None:
    host = start_host(
        "class Model:\n    async def predict_batch(self, inputs): return [len(inputs)]"
    )
    assert [answer.json() for answer in together(host, [1, 2, 3])] == [1, 1, 1]
    assert host.state()["slots"] == 1


TIMED = """
import time
class Model:
    def predict(self, value):
        time.sleep(0.06)
        return value
    def predict_batch(self, inputs):
        time.sleep(0.06 * (1 + (len(inputs) - 1) / 14))
        return inputs
"""


def rate(host: RunningHost, calls: int) -> float:
    """Calls per second of 16 clients."""
    with ThreadPoolExecutor(16) as pool:
        started = time.monotonic()
        assert {answer.status_code for answer in pool.map(host.predict, range(calls))} == {200}
        return calls / (time.monotonic() - started)


def test_a_batch_of_8_at_1_5_times_the_cost_serves_4_times_the_calls(start_host: StartHost) -> None:
    batched = start_host(TIMED, "runtime: {batching: {max_batch_size: 8, max_wait_ms: 10}}")
    plain = start_host(TIMED)
    assert rate(batched, 160) >= 4 * rate(plain, 32)


def test_a_lone_call_waits_for_company_and_is_then_answered(start_host: StartHost) -> None:
    source = "class Model:\n    def predict_batch(self, inputs): return inputs"
    host = start_host(source, "runtime: {batching: {max_batch_size: 8, max_wait_ms: 20}}")
    took = sorted(host.job(n).end.ms for n in range(10))
    assert (
        took[0] >= 18
    )  # timers of the loop round to milliseconds; `bench` measures how long at most

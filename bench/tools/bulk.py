"""Cancels queued jobs by a filter, with a client that is cut off on its way: `python -m bench.tools.bulk [--jobs N]`.

Prints how long it takes, whether the count is exact, and what others notice: their p99 while it runs against before.
"""

import argparse
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from bench.tools import jobs
from bench.tools.load import Measured, Order, drive
from bench.tools.stack import AUTHORIZED, ROOT, Stack

MODELS = ROOT / "models"
OTHERS_RATE = 50.0  # calls a second: half of what others do is submit, half is ask
OTHERS_SECONDS = 8.0
CUT_SECONDS = 1.0  # when the first client is cut off
OPERATION = "bench"


def others(target: str, request_id: str) -> Measured:
    """The traffic of somebody else, on another model."""
    calls = [
        ("POST", "/models/digits/production/async_predict", '{"model_input": 1}'),
        ("GET", f"/async_request/{request_id}?wait=0", ""),
    ]
    submits, asks = (
        Order(target, [call], AUTHORIZED, 8, OTHERS_SECONDS, rate=OTHERS_RATE, expect=expect)
        for call, expect in zip(calls, (201, 200), strict=True)
    )
    with ThreadPoolExecutor(2) as pool:
        measured = list(pool.map(drive, (submits, asks)))
    return max(measured, key=lambda result: result.p99)


def cancel(target: str, deployment_id: str) -> tuple[float, dict[str, Any]]:
    """Seconds that it took, and the last answer."""
    body = {"deployment": deployment_id, "status": "QUEUED", "operation": OPERATION}
    began = time.monotonic()
    with contextlib.suppress(httpx.TimeoutException):
        httpx.post(
            f"http://{target}/v1/jobs/cancel", json=body, headers=AUTHORIZED, timeout=CUT_SECONDS
        )
    while True:
        url = f"http://{target}/v1/jobs/cancel"
        answer = (
            httpx.post(url, json=body, headers=AUTHORIZED, timeout=60).raise_for_status().json()
        )
        if answer["finished"]:
            return time.monotonic() - began, answer


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=100_000)
    count = parser.parse_args().jobs
    with Stack() as stack:
        echo, digits = (stack.deployment(MODELS / name) for name in ("echo", "digits"))
        target, store = stack.api(), stack.store()
        jobs.queue(store, echo, count, b'{"text": "hello"}')
        (request_id,) = jobs.queue(store, digits, 1)
        before = others(target, request_id)
        with ThreadPoolExecutor(1) as pool:
            during = pool.submit(others, target, request_id)
            seconds, answer = cancel(target, echo.id)
            noticed = during.result()
        print(f"{count} queued jobs cancelled by filter in {seconds:.1f} s: {answer}")
        print(f"exact count: {answer['done'] == count}, left: {jobs.left(store, echo)}")
        ratio = noticed.p99 / before.p99
        print(f"others' p99: {before.p99:.1f} ms before, {noticed.p99:.1f} ms while, {ratio:.2f} x")


if __name__ == "__main__":
    main()

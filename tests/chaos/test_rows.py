"""Single rows of the fault matrix, each against the real stack; the ledger judges them all."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.chaos.scenario import Plan, Report, run
from tests.chaos.stack import Stack
from tests.chaos.wall import Wall
from tests.conditions import lasts, wait_until
from tests.contract.test_full_disk import fill, small_disk

__all__ = ["small_disk"]  # a fixture

SHORT_LEASE = {"KINGPOST_LEASE_SECONDS": "2", "KINGPOST_HEARTBEAT_SECONDS": "0.5"}


@pytest.fixture
def go(tmp_path: Path) -> Iterator[Callable[..., Report]]:
    """Runs a plan on a stack of its own."""
    stacks: list[Stack] = []

    def go(plan: Plan, during: Callable[[Stack], None] | None = None, **more: object) -> Report:
        stack = Stack(tmp_path / "stack", **more)  # type: ignore[arg-type]
        stacks.append(stack)
        stack.start()
        if during:
            threading.Thread(target=during, args=(stack,), daemon=True).start()
        report = asyncio.run(run(plan, stack, stack.folder))
        print(report.table())
        assert report.verdict.clean, report.table()
        return report

    yield go
    for stack in stacks:
        stack.stop()


@pytest.mark.slow
def test_c8_lost_replies_do_nothing_twice(go: Callable[..., Report]) -> None:
    report = go(
        Plan(1, 200, 0),
        proxied="",
        loss=0.02,
        env=SHORT_LEASE | {"KINGPOST_WEBHOOK_TIMEOUT_SECONDS": "1"},
    )
    assert report.statuses["SUCCEEDED"] + report.statuses.get("FAILED", 0) == 200


@pytest.mark.chaos
def test_c9_c10_c12_lost_and_doubled_wakeups_and_file_rewrites_change_nothing(
    go: Callable[..., Report],
) -> None:
    kinds = ("lost wake-ups", "doubled wake-ups", "rewrite")
    report = go(Plan(1, 500, 12, kinds=kinds, gap=(0.1, 0.3)))
    assert report.statuses == {"SUCCEEDED": 500}
    assert report.verdict.reruns == 0


@pytest.mark.chaos
def test_c11_a_worker_that_is_cut_off_loses_its_jobs_to_others(go: Callable[..., Report]) -> None:
    def cut(stack: Stack) -> None:
        wait_until(lambda: stack.valkey.size() > 50, 30, "no job came")
        stack.proxy.cut()
        lasts(5)
        stack.proxy.heal()

    plan = Plan(1, 40, 1, kinds=("rewrite",), gap=(7, 7), run_ms=(800, 1000))
    report = go(plan, cut, proxied="replica0", env=SHORT_LEASE)
    assert report.statuses == {"SUCCEEDED": 40}
    assert report.verdict.reruns >= 1


@pytest.mark.chaos
def test_c17_a_rolling_restart_wastes_no_attempt(go: Callable[..., Report]) -> None:
    report = go(Plan(2, 400, 8, kinds=("roll",), gap=(0.2, 0.5)))
    assert report.statuses == {"SUCCEEDED": 400}
    assert report.verdict.reruns == 0


LONG = (26_000, 45_000)  # ms: longer than a lease


@pytest.mark.chaos
@pytest.mark.parametrize("part", ["valkey", "replica"])
def test_c25_a_stall_beyond_the_lease_charges_no_job_that_still_runs(
    go: Callable[..., Report], part: str
) -> None:
    report = go(Plan(1, 5, 0, frozen=(part,), freeze_after=(3, 4), run_ms=LONG))
    assert report.statuses == {"SUCCEEDED": 5}
    if part == "valkey":  # nobody could claim them meanwhile, and free slots were beside
        assert report.verdict.reruns == 0


@pytest.mark.chaos
def test_c26_a_clock_that_jumps_rescues_expires_and_delivers_nothing_early(
    go: Callable[..., Report], tmp_path: Path
) -> None:
    stacks: list[Stack] = []
    wall, jumps = Wall(tmp_path), 7
    plan = Plan(1, 60, jumps, kinds=("jump",), gap=(2, 4), run_ms=(500, 3000), again_every=5)
    report = go(plan, wall=wall, during=stacks.append)
    assert report.statuses == {"SUCCEEDED": 60}
    assert abs(wall.hours) == 1  # there and back, and there
    with redis.Redis.from_url(stacks[0].valkey.url) as client:
        assert abs(client.time()[0] - time.time() - wall.hours * 3600) < 60
    assert (report.verdict.reruns, report.verdict.redeliveries) == (12, 0)  # the ordered ones


@pytest.mark.chaos
def test_c27_a_full_disk_of_the_store_loses_nothing_that_was_acknowledged(
    go: Callable[..., Report], small_disk: Path, tmp_path: Path
) -> None:
    def full(stack: Stack) -> None:
        wait_until(lambda: stack.valkey.size() > 50, 30, "no job came")
        fill(small_disk / "filler")
        lasts(25)
        (small_disk / "filler").unlink()

    plan = Plan(1, 2000, 1, kinds=("rewrite",), gap=(30, 30))
    report = go(plan, full, data=small_disk / "valkey")
    assert report.statuses == {"SUCCEEDED": 2000}
    assert report.refused > 0  # it was felt

"""Planted bugs must turn the harness red: a harness that cannot fail proves nothing."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos import witness
from tests.chaos.scenario import Plan, Report, run
from tests.chaos.stack import Stack

pytestmark = pytest.mark.slow


@pytest.fixture
def planted(tmp_path: Path) -> Iterator[Callable[..., Report]]:
    """Runs a plan on a copy of the code with one line of one script changed."""
    stacks: list[Stack] = []

    def go(plan: Plan, script: str = "", old: str = "", new: str = "", **stack: object) -> Report:
        source = witness.copied(tmp_path / "code")
        if script:
            witness.planted(source, script, old, new)
        made = Stack(tmp_path / "stack", source=source, **stack)  # type: ignore[arg-type]
        stacks.append(made)
        report = asyncio.run(run(plan, made.start(), made.folder))
        print(report.table())
        return report

    yield go
    for stack in stacks:
        stack.stop()


def test_a_claim_that_leaves_no_record_loses_jobs(planted: Callable[..., Report]) -> None:
    plan = Plan(1, 300, 8, kinds=("replica",), gap=(0.3, 0.6), run_ms=(50, 100), drain_seconds=8)
    lease = "take_slot(id, deployment, job[5], now)"
    none = f"{lease} redis.call('ZREM', K.leases, id)"
    report = planted(plan, "claim", lease, none)
    assert report.verdict.lost > 0


def test_a_finish_without_a_fence_completes_jobs_twice(planted: Callable[..., Report]) -> None:
    short = {"KINGPOST_LEASE_SECONDS": "2", "KINGPOST_HEARTBEAT_SECONDS": "0.5"}
    frozen = ("replica",) * 3
    plan = Plan(1, 60, 0, frozen=frozen, freeze_seconds=5, run_ms=(800, 1200), drain_seconds=30)
    fence = "if word ~= 'held' then return word end"
    none = (
        "if word == 'missing' then return word end "
        "job = fields(id, 'status', 'fence', 'rescued', 'deployment', 'errors')"
    )
    report = planted(plan, "finish", fence, none, env=short)
    assert report.verdict.double_completed > 0


def test_a_store_that_does_not_write_before_it_answers_loses_jobs(
    planted: Callable[..., Report],
) -> None:
    plan = Plan(1, 100, 1, kinds=("valkey",), gap=(6, 6), drain_seconds=5)
    report = planted(plan, fsync="off")
    assert report.verdict.lost > 0

"""The short tier of the chaos harness: it runs with every change; `make chaos` runs the long one."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.scenario import KILLED, Plan, run
from tests.chaos.stack import Stack
from tests.effort import repeated

pytestmark = pytest.mark.stack

SEED = 12  # its first eight faults hit all five kinds


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path / "stack")
    yield stack
    stack.stop()


def test_nothing_is_lost_while_every_kind_of_process_is_killed(stack: Stack) -> None:
    kills, jobs = repeated(8, 20), repeated(200, 500)
    plan = Plan(seed=SEED, jobs=jobs, kills=kills, gap=(0.3, 1.0), poison_every=jobs // 2)
    assert {kind for _, kind in plan.faults()} == {*KILLED}
    report = asyncio.run(run(plan, stack.start(), stack.folder))
    print(report.table())
    assert report.verdict.clean, report.table()
    assert sum(report.ledger.faults.values()) == kills
    assert report.statuses == {"SUCCEEDED": jobs - 2, "FAILED": 2}

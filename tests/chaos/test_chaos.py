"""The short tier of the chaos harness: it runs with every change; `make chaos` runs the long one."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.scenario import Plan, run
from tests.chaos.stack import Stack


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path / "stack")
    yield stack
    stack.stop()


def test_nothing_is_lost_while_every_kind_of_process_is_killed(stack: Stack) -> None:
    plan = Plan(seed=1, jobs=500, kills=20, gap=(0.3, 1.0), poison_every=250)
    report = asyncio.run(run(plan, stack.start(), stack.folder))
    print(report.table())
    assert report.verdict.clean, report.table()
    assert sum(report.ledger.faults.values()) == 20
    assert report.statuses == {"SUCCEEDED": 498, "FAILED": 2}

"""A small batch by OpenAI's client while each part of a stack is killed: bench.extra.batch, which fails unless each line has exactly one result."""

import pytest

from bench.extra import batch

pytestmark = pytest.mark.stack


def test_each_line_has_one_result_whatever_is_killed(capsys: pytest.CaptureFixture[str]) -> None:
    batch.run(lines=400, kills=1, alone_seconds=0)
    said = capsys.readouterr().out
    assert "completed: BatchRequestCounts(completed=400, failed=0, total=400)" in said
    assert "4 kills in all" in said

"""Two questions about health: on schedule, and at once while a failed job waits."""

import asyncio

import pytest

from workers.host import health
from workers.host.health import Health


class Model:
    """Says at once whether it is well; None is silence."""

    def __init__(self, says: bool | None) -> None:
        self.says = says
        self.asked = 0

    async def __call__(self) -> bool:
        self.asked += 1
        if self.says is None:
            await asyncio.Event().wait()
        return bool(self.says)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is known at once."""
    monkeypatch.setattr(health, "QUICK_SECONDS", 0)
    monkeypatch.setattr(health, "ANSWER_SECONDS", 0)


async def test_a_no_is_a_no_and_a_yes_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "QUICK_SECONDS", 10)
    model = Model(False)
    asked = Health(model)
    assert await asked.is_failing() and asked.failing_ms
    model.says = True
    assert not await asked.is_failing() and not asked.failing_ms


async def test_silence_says_nothing_while_a_failed_job_waits() -> None:
    asked = Health(Model(None))
    assert not await asked.is_failing()
    assert asked.failing_ms == 0, "only the schedule may judge a silence"


async def test_after_a_scheduled_check_that_failed_silence_is_a_no() -> None:
    model = Model(None)
    asked = Health(model)
    assert not await asked.check() and asked.failing_ms
    assert await asked.is_failing()
    assert model.asked == 1, "the check that hangs is not joined by a second one"

"""The supervisor: who starts again at once, who waits, and what may not end it."""

import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tasks.process.loops import Guard
from tests.conditions import wait_until_async
from workers.processes import supervisor as module
from workers.processes.supervisor import Part, Supervisor, delay_after

IDLE = [sys.executable, "-c", "import threading; threading.Event().wait()"]


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    made = Supervisor(lambda *_: None)
    yield made
    await made.stop("part", 5)


def part_of(folder: Path, command: list[str]) -> Part:
    return Part("part", "part", command, folder / "part.log", dict(os.environ))


async def started_again(part: Part, times: int) -> None:
    async def yes() -> bool:
        return part.starts > times and part.pid is not None

    await wait_until_async(yes, 20)


@pytest.mark.parametrize(
    ("exit_code", "lived", "before", "delay"),
    [
        (-signal.SIGKILL, 1.5, 0.0, 0.0),  # killed again and again, each time after a healthy life
        (-signal.SIGKILL, 1.5, 4.0, 0.0),
        (-signal.SIGKILL, 0.2, 0.0, 0.5),  # too early to say that it can start
        (1, 3.0, 0.0, 0.5),  # ended by itself: it cannot start
        (1, 3.0, 0.5, 1.0),
        (1, 3.0, 4.0, 4.0),  # and goes on to be tried, for what kept it from starting may pass
        (-signal.SIGSEGV, 3.0, 0.5, 1.0),
        (1, 31.0, 4.0, 0.0),
    ],
)
def test_who_was_healthy_starts_at_once_and_who_cannot_start_waits(
    exit_code: int, lived: float, before: float, delay: float
) -> None:
    assert delay_after(exit_code, lived, before) == delay


async def test_a_healthy_part_that_is_killed_seven_times_never_waits(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEALTHY_SECONDS_IF_KILLED", 0.0)
    monkeypatch.setattr(module, "BACKOFF_FIRST", 600.0)
    part = part_of(tmp_path, IDLE)
    await supervisor.start(part)
    for times in range(1, 8):
        assert part.pid
        os.kill(part.pid, signal.SIGKILL)
        await started_again(part, times)


async def test_a_death_by_a_signal_without_a_name_ends_no_keeper(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    part = part_of(tmp_path, IDLE)
    await supervisor.start(part)
    assert part.pid
    os.kill(part.pid, 40)
    await started_again(part, 1)


async def test_a_keeper_that_fails_is_run_again_and_the_stop_comes_to_its_end(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(*_: object) -> float:
        monkeypatch.undo()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "delay_after", planted)
    part = part_of(tmp_path, IDLE)
    await supervisor.start(part)
    assert part.pid
    os.kill(part.pid, signal.SIGKILL)
    await started_again(part, 1)


def test_a_log_that_cannot_be_written_does_not_end_a_guarded_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(
        "tasks.process.loops.log",
        type("Full", (), dict.fromkeys(("error", "info", "warning"), staticmethod(full))),
    )
    guard = Guard("loop")
    with guard.round():
        raise ValueError("planted")
    with guard.round():
        pass
    assert guard.failed == 1


async def test_a_part_inherits_the_descriptors_that_it_is_given(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    file = os.open(tmp_path / "given", os.O_WRONLY | os.O_CREAT)
    part = part_of(tmp_path, [sys.executable, "-c", f"import os; os.write({file}, b'x')"])
    part.descriptors = (file,)
    await supervisor.start(part)

    async def written() -> bool:
        return (tmp_path / "given").read_text() == "x"

    await wait_until_async(written, 20)
    os.close(file)


def test_a_part_that_is_alone_in_its_role_is_named_once(tmp_path: Path) -> None:
    names = [
        Part(role, name, [], tmp_path, {}).title for role, name in (("api", "api"), ("node", "n2"))
    ]
    assert names == ["api", "node n2"]

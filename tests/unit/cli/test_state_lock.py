"""Commands read what `kingpost up` does from its lock, and are never in its way."""

import fcntl
from pathlib import Path

import pytest

from cli.stack import state_lock
from cli.stack.start_failed import StartFailed
from cli.stack.state_lock import RUNNING, holder, locked


def test_who_reads_at_the_wrong_moment_does_not_keep_up_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "lock").open("w") as reading:
        fcntl.flock(reading, fcntl.LOCK_SH)
        monkeypatch.setattr(state_lock.time, "sleep", lambda _: fcntl.flock(reading, fcntl.LOCK_UN))
        with locked(tmp_path) as note:
            note(RUNNING)
            assert holder(tmp_path) == RUNNING
    assert holder(tmp_path) is None


def test_two_cannot_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_lock, "TRIES", 2)
    with locked(tmp_path), pytest.raises(StartFailed, match="Another `kingpost up` uses"):
        locked(tmp_path).__enter__()

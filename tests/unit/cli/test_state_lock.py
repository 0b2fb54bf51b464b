"""Commands read what `kingpost up` does from its lock, and are never in its way."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from cli.stack import state_lock
from cli.stack.start_failed import StartFailed
from cli.stack.state_lock import RUNNING, locked, note_of_holder


def test_who_reads_at_the_wrong_moment_does_not_keep_up_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "lock").open("w") as reading:
        fcntl.flock(reading, fcntl.LOCK_SH)
        monkeypatch.setattr(state_lock.time, "sleep", lambda _: fcntl.flock(reading, fcntl.LOCK_UN))
        with locked(tmp_path) as note:
            note(RUNNING)
            assert note_of_holder(tmp_path) == RUNNING
    assert note_of_holder(tmp_path) is None


def test_two_cannot_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_lock, "TRIES", 2)
    with (
        locked(tmp_path),
        pytest.raises(StartFailed, match="Another `kingpost up` or `kingpost repair` uses"),
    ):
        locked(tmp_path).__enter__()


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from cli.stack.state_lock import RUNNING, locked
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
with locked(Path(sys.argv[1])) as note:
    note(RUNNING)
"""


def test_a_full_disk_ends_nobody_who_cannot_note_what_it_does(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_folder_that_is_a_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartFailed, match=r"cannot be written: .*Choose another folder"):
        locked(tmp_path / "file").__enter__()

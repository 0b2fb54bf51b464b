"""The state folder is its owner's alone, whatever the umask was."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.process import private_files
from tasks.process.private_files import keep_private, only_for_owner, users_umask


@pytest.fixture
def umask(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = os.umask(0o022)
    monkeypatch.setattr(private_files, "_users_umask", -1)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("umask")
def test_what_a_part_makes_is_private_and_what_a_model_makes_is_as_the_user_wants_it(
    tmp_path: Path,
) -> None:
    only_for_owner()
    only_for_owner()
    (tmp_path / "file").touch()
    assert mode(tmp_path / "file") == 0o600
    assert users_umask() == 0o022


def test_an_open_state_folder_is_mended_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o755)
    keep_private(tmp_path)
    assert mode(tmp_path) == 0o700
    assert f"Other users could read the state folder {tmp_path}" in capsys.readouterr().err
    keep_private(tmp_path)
    assert not capsys.readouterr().err


def test_a_folder_of_everybody_is_not_closed_but_spoken_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o1777)
    keep_private(tmp_path)
    assert mode(tmp_path) == 0o1777
    assert "choose a folder" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_nobodys_fault(tmp_path: Path) -> None:
    keep_private(tmp_path / "none")

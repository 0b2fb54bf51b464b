"""The units for bare machines: what they start, and with which settings."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cli.lazily import WHERE
from tasks.process.variables import PREFIX
from tasks.settings import Settings

FOLDER = Path(__file__).parents[3] / "deploy" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))


def read(path: Path) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=True, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(path.read_text())
    return unit


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_starts_a_command_that_exists_and_may_do_little(path: Path) -> None:
    service = read(path)["Service"]
    program, command, *_ = service["ExecStart"].split()
    assert program == "/opt/kingpost/bin/kingpost"
    assert command in {*WHERE, "up"}
    assert (service["User"], service["ProtectSystem"], service["NoNewPrivileges"]) == (
        "kingpost",
        "strict",
        "yes",
    )


def test_a_unit_waits_for_its_drain() -> None:
    for name in ("node", "up"):
        seconds = float(read(FOLDER / f"kingpost-{name}.service")["Service"]["TimeoutStopSec"])
        assert seconds > Settings().drain_seconds


def test_the_target_wants_units_that_are_there() -> None:
    wanted = read(FOLDER / "kingpost.target")["Unit"]["Wants"].split()
    assert {f"{name}" for name in wanted} | {"kingpost-up.service"} == {path.name for path in UNITS}


def test_every_variable_of_the_file_is_a_setting() -> None:
    names = set(re.findall(r"^(?:# )?([A-Z_]+)=", (FOLDER / "kingpost.env").read_text(), re.M))
    assert len(names) > 4
    assert names <= {PREFIX + name.upper() for name in Settings.model_fields}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """With a program that is there, because it looks for it."""
    for path in FOLDER.iterdir():
        (tmp_path / path.name).write_text(
            path.read_text().replace("/opt/kingpost/bin/kingpost", "/bin/true")
        )
    units = [str(path) for path in sorted(tmp_path.iterdir()) if path.suffix != ".env"]
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")

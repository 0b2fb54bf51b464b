"""What `make test` says and exits with: a few failures get a second run, anything else is red at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.outcomes import Outcome
from tests.run import to_run_again, verdict
from tests.wheels import ROOT

FEW = ["a.py::one", "a.py::two", "b.py::three"]


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (Outcome(0, 9), []),
        (Outcome(1, 9, FEW[:1]), FEW[:1]),
        (Outcome(1, 9, FEW), FEW),
        (Outcome(1, 9, [*FEW, "c.py::four"]), []),
        (
            Outcome(1, 9, FEW[:1], ["c.py"]),
            [],
        ),  # so pytest-xdist ends when a file cannot be imported
        (Outcome(1, 9, [], ["c.py"]), []),
        (Outcome(1, 9), []),  # a failure that belongs to no test
        (Outcome(2, 9, FEW[:1]), []),  # interrupted
        (Outcome(3, 9, FEW[:1]), []),  # an error of pytest itself
        (Outcome(4), []),  # its command line
        (Outcome(5), []),  # no tests
        (Outcome(-9, 9, FEW[:1]), []),
    ],
)
def test_only_a_few_failures_run_again(first: Outcome, again: list[str]) -> None:
    assert list(to_run_again(first)) == again
    if not again:
        assert (verdict(first, None)[0] == 0) == (first.code == 0)


@pytest.mark.parametrize(
    ("second", "code"),
    [
        (Outcome(0, 3), 0),
        (Outcome(1, 2, FEW[:1]), 1),
        (Outcome(0, 2), 1),  # one was skipped
        (Outcome(5, 0), 5),
        (Outcome(-15, 3), -15),
    ],
)
def test_it_is_green_only_if_all_of_them_passed_then(second: Outcome, code: int) -> None:
    got, line = verdict(Outcome(1, 9, FEW), second)
    assert got == code
    assert all(name in line for name in ("3 tests failed", *(second.failed or FEW)))
    assert all(name not in line for name in FEW if second.failed and name not in second.failed)


FLAKY = """
from pathlib import Path
def test_that_fails_once():
    seen = Path(__file__).with_suffix(".seen")
    first = not seen.exists()
    seen.touch()
    assert not first
def test_that_passes(): pass
"""


def run(folder: Path) -> tuple[int, list[str]]:
    """Exit code and output for the tests of a folder that is no part of ours."""
    env = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "xdist.plugin"}
    env |= {"PYTEST_ADDOPTS": "-p no:cacheprovider", "PYTHONPATH": str(ROOT)}
    env = {name: value for name, value in env.items() if "XDIST" not in name}
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "tests.run"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines()


def test_a_test_that_fails_once_is_counted_in_the_last_lines(tmp_path: Path) -> None:
    (tmp_path / "test_flaky.py").write_text(FLAKY)
    code, lines = run(tmp_path)
    assert code == 0, lines
    assert lines[-2] == "Green, but 1 tests failed at first and passed by themselves:"
    assert lines[-1].endswith("test_flaky.py::test_that_fails_once")


def test_a_file_that_cannot_be_imported_is_red_beside_one_that_passes_later(tmp_path: Path) -> None:
    (tmp_path / "test_flaky.py").write_text(FLAKY)
    (tmp_path / "test_broken.py").write_text("import nothing_of_that_name\n")
    code, lines = run(tmp_path)
    assert code != 0
    assert lines[-1] == "Red: 1 files cannot be collected."

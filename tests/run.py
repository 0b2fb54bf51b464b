"""`python -m tests.run [--stacks | --slow] [PATH...]`: tests in three processes; what failed there once more by itself.

Among three processes on a busy machine a test may wait seconds for a core. One such failure must not refuse a
change, and none may be hidden: a few are run again, and the last line counts them.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.effort import THOROUGH
from tests.outcomes import Outcome

# A file stays in one process; conftest.py puts long files first.
THREE = ("-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")
NOT_SHIPPED = ("--ignore", "tests/shipped")  # they build and install: `make shipped` runs them
QUICK = ("-m", "not chaos and not slow and not stack")
STACKS = ("-m", "stack and not chaos and not slow")
ALL = ("-m", "not chaos", *NOT_SHIPPED, "--hypothesis-profile", THOROUGH)
MOST_AGAIN = 3  # more are no accident
TESTS_FAILED = (
    1  # pytest's exit code when tests ran and some failed; the others mean that not all ran
)


def to_run_again(first: Outcome) -> Sequence[str]:
    """The tests that get a second run; none after anything but a few failures."""
    few = 0 < len(first.failed) <= MOST_AGAIN
    return first.failed if first.code == TESTS_FAILED and few and not first.uncollected else ()


def verdict(first: Outcome, second: Outcome | None) -> tuple[int, str]:
    """The exit code, and the line that is printed last."""
    if first.code == 0:
        return 0, f"Green: {first.passed} tests passed."
    if first.uncollected:
        return first.code, f"Red: {len(first.uncollected)} files cannot be collected."
    if first.code != TESTS_FAILED:
        return first.code, f"Red: pytest ended with {first.code}; that is no failure of a test."
    count = len(first.failed)
    if second is None:
        return first.code, f"Red: {count} tests failed; up to {MOST_AGAIN} would have run again."
    names = "".join(f"\n  {name}" for name in first.failed)
    if second.code == 0 and second.passed == count:
        return 0, f"Green, but {count} tests failed at first and passed by themselves:{names}"
    still = f" {len(second.failed)} of them failed again:" if second.failed else ""
    names = "".join(f"\n  {name}" for name in second.failed or first.failed)
    return second.code or TESTS_FAILED, f"Red: {count} tests failed and ran again.{still}{names}"


def main(paths: Sequence[str], chosen: Sequence[str]) -> int:
    """Runs those that the options of pytest choose, says how it went, and returns the exit code."""
    first = _pytest([*THREE, *chosen, *paths])
    again = to_run_again(first)
    second = _pytest(["-m", "", *again]) if again else None  # named, whatever their marks are
    code, line = verdict(first, second)
    print(f"\n{line}", flush=True)
    return code


def _pytest(arguments: Sequence[str]) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outcome.json"
        options = ["-p", "tests.outcomes", "--outcome-to", str(path)]
        done = subprocess.run([sys.executable, "-m", "pytest", *options, *arguments])
        return Outcome.read(path, done.returncode)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.run", description="Runs the tests.")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--stacks", action="store_const", dest="chosen", const=STACKS,
                       help="those with the mark `stack` instead")  # fmt: skip
    which.add_argument("--slow", action="store_const", dest="chosen", const=ALL,
                       help="all of them, also the slow ones, and more of what is repeated")  # fmt: skip
    parser.add_argument("paths", nargs="*")
    given = parser.parse_args()
    sys.exit(main(given.paths, given.chosen or QUICK))

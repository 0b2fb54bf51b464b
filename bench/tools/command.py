"""The command line that every bench has: `python -m bench.NAME [--quick] [--rounds N] [--seconds S] [--keep]`."""

import argparse
from collections.abc import Callable
from dataclasses import replace

from bench.tools import table
from bench.tools.rounds import QUICK, Pace, Report, show

Measure = Callable[[Pace], Report]


def pace_from(arguments: list[str] | None = None) -> tuple[Pace, bool]:
    """The pace that was asked for, and whether to keep the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of one measurement")
    parser.add_argument("--keep", action="store_true", help="write results.json and README.md")
    options = parser.parse_args(arguments)
    given = {"rounds": options.rounds, "seconds": options.seconds}
    pace = QUICK if options.quick else Pace()
    return replace(pace, **{name: value for name, value in given.items() if value}), options.keep


def main(measure: Measure) -> None:
    """Measures, prints, and keeps the result when asked to."""
    pace, keep = pace_from()
    report = measure(pace)
    print(show(report))
    if keep:
        table.store(report)

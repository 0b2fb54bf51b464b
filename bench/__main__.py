"""`python -m bench`: every bench, about 25 minutes, writes results.json, quick.json, the tables and the plots.

`python -m bench --quick`: the ratios that take a moment, at most 3 minutes; exit code 1 when one of them is more than
a quarter worse than in quick.json. `--keep` makes what it finds the new quick.json.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable

from bench import (
    batching,
    depth,
    drain,
    gap,
    idle,
    status,
    stream,
    submit,
    sync,
    webhooks,
)
from bench.tools import rounds, table
from bench.tools.rounds import QUICK, Claim, Pace, Report

ALL: dict[str, Callable[[Pace], Report]] = {
    module.__name__.removeprefix("bench."): module.measure
    for module in (submit, status, sync, stream, drain, idle, depth, batching, webhooks, gap)
}
QUICKLY = ("submit", "status", "sync", "stream", "drain", "gap")
WORSE = 0.25


def run(names: tuple[str, ...], pace: Pace) -> tuple[list[Report], list[str]]:
    """The reports, and which benches broke: one that breaks does not take the others along."""
    reports: list[Report] = []
    broken: list[str] = []
    for name in names:
        began = time.monotonic()
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            report = ALL[name](pace)
        except (RuntimeError, AssertionError, OSError) as error:
            print(f"{name} broke: {error}", flush=True)
            broken.append(name)
            continue
        reports.append(report)
        print(f"{rounds.show(report)}\n  took {time.monotonic() - began:.0f} s\n", flush=True)
        if not pace.quick:
            table.store(report)
    return reports, broken


def compared(claims: dict[str, Claim], before: dict[str, float]) -> list[str]:
    """The claims that fell by more than a quarter, in words."""
    return [
        f"{name}: {before[name]:.3g} -> {claim.median:.3g} {claim.unit}"
        for name, claim in claims.items()
        if name in before and claim.fell(before[name], WORSE)
    ]


def ratios(reports: list[Report]) -> dict[str, Claim]:
    """Every claim that does not depend on the machine's speed alone."""
    return {
        f"{report.name}: {claim.name}": claim
        for report in reports
        for claim in report.claims
        if claim.unit in ("x", "%")
    }


def quickly(keep: bool) -> bool:
    """A quick run against quick.json; whether all is well."""
    reports, broken = run(QUICKLY, QUICK)
    found = ratios(reports)
    if keep and not broken:
        medians = {name: float(f"{claim.median:.4g}") for name, claim in found.items()}
        table.QUICK.write_text(json.dumps(medians, indent=1) + "\n")
        return True
    if not table.QUICK.exists():
        print("There is no bench/quick.json to compare with; `make bench` writes it.")
        return False
    fallen = compared(found, json.loads(table.QUICK.read_text()))
    for worse in fallen:
        print(f"more than {WORSE:.0%} worse: {worse}")
    print(f"{len(found)} ratios, {len(fallen)} worse, {len(broken)} benches broke")
    return not fallen and not broken


def main() -> None:
    """All, or the quick ones."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--keep", action="store_true", help="with --quick: the new quick.json")
    options = parser.parse_args()
    if options.quick:
        sys.exit(not quickly(options.keep))
    _, broken = run(tuple(ALL), Pace())
    well = quickly(keep=True)
    sys.exit(bool(broken) or not well)


if __name__ == "__main__":
    main()

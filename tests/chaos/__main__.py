"""`make chaos`: the base run with three seeds; prints the ledger and exits 1 unless every one is clean."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.chaos.scenario import KILLED, Plan, run
from tests.chaos.stack import Stack
from tests.chaos.wall import Wall


def main() -> int:
    """Runs the seeds one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=150)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    clean = True
    for seed in options.seeds:
        with tempfile.TemporaryDirectory(prefix="kingpost-chaos-") as folder:
            plan = Plan(
                seed,
                options.jobs,
                options.kills,
                kinds=(*KILLED, "jump"),
                poison_every=1000,
                frozen=("replica", "replica", "valkey"),
            )
            stack = Stack(Path(folder) / "stack", wall=Wall(Path(folder))).start()
            try:
                report = asyncio.run(run(plan, stack, stack.folder))
            finally:
                stack.stop()
            print(report.table(), flush=True)
            clean = clean and report.verdict.clean
    print("clean" if clean else "NOT CLEAN")
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())

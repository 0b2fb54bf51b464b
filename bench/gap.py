"""How busy the device is while jobs wait: `python -m bench.gap`. Jobs of 50 ms, one at a time.

The model writes down from when to when each call ran; what lies between two calls is time that a GPU would idle.
"""

from itertools import pairwise

from bench.tools import jobs
from bench.tools.command import main
from bench.tools.load import percentile
from bench.tools.rounds import Claim, Figures, Pace, Report, alternate
from bench.tools.stack import MODELS, Stack
from tests.conditions import wait_until

FIXED = MODELS / "fixed"
MS = 50


def once(count: int) -> Figures:
    """Queues the jobs, starts a replica and looks at what the model wrote down."""
    with Stack(fsync="everysec") as stack:
        busy = stack.folder / "busy.txt"
        store, deployment = stack.store(), stack.deployment(FIXED)
        jobs.queue(store, deployment, count, f'{{"ms": {MS}}}'.encode())
        stack.maintenance()
        stack.start("replica", str(FIXED), BENCH_BUSY=str(busy))
        wait_until(lambda: not jobs.left(store, deployment), 60 + count * MS / 500)
        calls = [tuple(map(float, line.split())) for line in busy.read_text().splitlines()]
    calls = calls[2:]  # the first ones wait for the start of the rest of the replica
    ran = sum(ended - began for began, ended in calls)
    gaps = [(b - a) * 1000 for (_, a), (b, _) in pairwise(calls)]
    return {
        "busy %": 100 * ran / (calls[-1][1] - calls[0][0]),
        "gap p50 ms": percentile(gaps, 0.5),
        "gap p99 ms": percentile(gaps, 0.99),
    }


def measure(pace: Pace) -> Report:
    """The share of time that the model is busy."""
    count = int(pace.seconds * 1000 / MS)
    rounds = alternate({"Kingpost": lambda: once(count)}, pace)
    values = [values["busy %"] for values in rounds["Kingpost"]]
    title = f"{count} queued jobs of {MS} ms, one slot"
    return Report("gap", title, rounds, [Claim("busy", values, 95.0, unit="%")])


if __name__ == "__main__":
    main(measure)

"""What viewers of the queue's page cost: `python -m bench.console [--jobs N] [--viewers N] [--rounds N] [--scope SCOPE]`, about nine minutes.

1. With 100,000 queued jobs, and 500 a second that finish and are queued anew: how long the live part of the page takes to render on the
   server and to arrive, and the p99 of others, who submit and ask for a status, with ten viewers against without, in alternating rounds.
   A round in which fewer jobs finished says nothing of the aim, so the rate that was reached is an aim, too.
2. With the same queue at rest: the CPU time of the API for each viewer of the page.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from bench.console.viewers import Order as Looks
from bench.console.viewers import Seen
from bench.tools import jobs
from bench.tools.load import Order, drive, percentile
from bench.tools.rounds import Claim, Figures, Pace, Report, alternate, ratios, spread
from bench.tools.stack import AUTHORIZED, ROOT, Stack
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment, Replica
from tasks.api_keys import Scope
from tests.api_keys import ApiKeys
from tests.conditions import lasts

MODELS = ROOT / "models"
PAGES = {"/ui/jobs": "all requests", "/ui/jobs?status=QUEUED": "those that wait"}
FINISHED = 500.0  # a second
REACHED = 0.95  # of FINISHED: with less the others' figures are of another load
SLOWEST_MS = 200.0  # a render
OTHERS_RATE = 100.0  # calls a second: half of what others do is submit, half is ask
SETTLE = 3.0  # s
AT_REST = 70.0  # s
DAY = 24 * 3600 * 1000  # ms


def others(target: str, request_id: str, seconds: float) -> Figures:
    """The p99 of somebody who submits to another model, and of somebody who asks for a status; the worse one counts."""
    calls = [
        ("POST", "/models/digits/production/async_predict", '{"model_input": 1}'),
        ("GET", f"/async_request/{request_id}?wait=0", ""),
    ]
    orders = [
        Order(target, [call], AUTHORIZED, 8, seconds, rate=OTHERS_RATE, expect=expect)
        for call, expect in zip(calls, (201, 200), strict=True)
    ]
    with ThreadPoolExecutor(2) as pool:
        submit, ask = pool.map(drive, orders)
    return {"submit p99": submit.p99, "status p99": ask.p99, "p99": max(submit.p99, ask.p99)}


@contextlib.contextmanager
def looking(looks: Looks) -> Generator[Seen]:
    """Viewers, in a process of their own; what they saw is there at the end."""
    command, seen = [sys.executable, "-m", "bench.console.viewers"], Seen()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:  # fmt: skip
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(asdict(looks)) + "\n")
        process.stdin.flush()
        if process.stdout.readline() != "looking\n":
            raise RuntimeError("The viewers could not log in.")
        yield seen
        process.stdin.write("\n")
        process.stdin.flush()
        vars(seen).update(json.loads(process.stdout.readline()))


@contextlib.contextmanager
def finishing(
    stack: Stack, deployment: Deployment, replica: Replica
) -> Generator[Callable[[], int]]:
    """Jobs that finish, and others that are queued. Gives what says how many have finished so far."""
    given = [stack.valkey.url, deployment.id, deployment.model_id, replica.id, str(FINISHED)]
    command = [sys.executable, "-m", "bench.console.finishers", *given]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:  # fmt: skip

        def finished() -> int:
            assert process.stdin
            assert process.stdout
            process.stdin.write("\n")
            process.stdin.flush()
            if not (line := process.stdout.readline()):
                raise RuntimeError("No jobs finish any more.")
            return int(line)

        try:
            yield finished
        finally:
            process.terminate()


def cpu_seconds(pid: int) -> float:
    """The CPU time of all threads of a process so far."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


class Bench:
    """A stack with a long queue."""

    def __init__(self, stack: Stack, count: int, viewers: int, scope: Scope) -> None:
        self.stack = stack
        self.echo, digits = (stack.deployment(MODELS / name) for name in ("echo", "digits"))
        self.target, store = stack.api(), stack.store()
        self.api = stack.parts()[-1].pid
        self.store = int(store.redis.info("server")["process_id"])
        self.replica = Replica("bench001", self.echo.id, "echo", "ready", None, "/nowhere", 8, 8, 1, None)  # fmt: skip
        store.run(registry.report(self.replica, DAY))
        jobs.queue(store, self.echo, count, b'{"text": "hello"}')
        (self.request_id,) = jobs.queue(store, digits, 1)
        keys = ApiKeys(stack.settings)
        self.keys = [keys.create(scope=scope, name=f"viewer {n}") for n in range(viewers)]

    def busy(self, page: str, pace: Pace) -> Report:
        """While jobs finish: how long a render takes, and what others notice."""
        looks, every = Looks(self.target, page, self.keys), list[float]()

        def alone() -> Figures:
            return self._others(pace.seconds, finished)

        def watched() -> Figures:
            with looking(looks) as seen:
                lasts(SETTLE)
                figures = self._others(pace.seconds, finished)
            every.extend(seen.took)
            return figures | {
                "render p50": statistics.median(seen.rendered), "render max": max(seen.rendered),
                "answer p50": statistics.median(seen.took), "answer p99": percentile(seen.took, 0.99), "answer max": max(seen.took),
            }  # fmt: skip

        with finishing(self.stack, self.echo, self.replica) as finished:
            rounds = alternate({"alone": alone, "with viewers": watched}, pace)
        claims = [
            Claim(f"others' {what}, with viewers / alone", ratios(rounds, "with viewers", "alone", what), 1.2, at_least=False)
            for what in ("submit p99", "status p99", "p99")
        ]  # fmt: skip
        for what in (
            "render",
            "answer",
        ):  # each of them counts, so the slowest of all rounds is held to the aim
            slow = max(figures[f"{what} max"] for figures in rounds["with viewers"])
            claims.append(Claim(f"slowest {what} of all", [slow], SLOWEST_MS, at_least=False, unit="ms"))  # fmt: skip
        for name, figures in rounds.items():
            rates = [values["finished /s"] for values in figures]
            claims.append(Claim(f"jobs finished a second, {name}", rates, FINISHED * REACHED, unit="/s"))  # fmt: skip
        late = sum(took > SLOWEST_MS for took in every)
        notes = [f"{late} of {len(every)} answers took more than {SLOWEST_MS:g} ms"]
        return Report("console", f"{page} ({PAGES.get(page, '')})", rounds, claims, notes)

    def at_rest(self, page: str, seconds: float, rounds: int = 2) -> str:
        """The share of a core for each viewer while nothing changes, beside nobody."""
        costs = list[float]()
        for _ in range(rounds):
            nobody = self._cpu(seconds)
            with looking(Looks(self.target, page, self.keys)):
                lasts(SETTLE)
                watched = self._cpu(seconds)
            costs.append((watched - nobody) / len(self.keys) * 100)
            print(f"  at rest: {nobody:.3%} of a core alone, {watched:.3%} watched", file=sys.stderr)  # fmt: skip
        median, low, high = spread(costs)
        return f"a viewer at rest costs {median:.3f} [{low:.3f}, {high:.3f}] % of a core (aim <= 0.1)"  # fmt: skip

    def _others(self, seconds: float, finished: Callable[[], int]) -> Figures:
        """What others notice; the shares of a core in percent that the API and the store use, and how many jobs finish, meanwhile."""
        began, before = time.monotonic(), finished()
        used = [cpu_seconds(pid) for pid in (self.api, self.store)]
        figures = others(self.target, self.request_id, seconds)
        now = [cpu_seconds(pid) for pid in (self.api, self.store)]
        took = time.monotonic() - began
        rate = (finished() - before) / took
        api, store = (100 * (b - a) / took for a, b in zip(used, now, strict=True))
        return figures | {"API %": api, "store %": store, "finished /s": rate}

    def _cpu(self, seconds: float) -> float:
        began, used = time.monotonic(), cpu_seconds(self.api)
        lasts(seconds)
        return (cpu_seconds(self.api) - used) / (time.monotonic() - began)


def told(report: Report) -> str:
    """Each figure as median [lowest, highest] of the rounds. `bench.tools.table` needs what only `make bench` installs."""
    lines = [report.title]
    for name, figures in report.rounds.items():
        for figure in figures[0]:
            median, low, high = spread([values[figure] for values in figures])
            unit = "" if figure.endswith(("%", "/s")) else " ms"
            lines.append(f"  {name}, {figure}: {median:.1f} [{low:.1f}, {high:.1f}]{unit}")
    for claim in report.claims:
        _, low, high = spread(claim.values)
        sign = ">=" if claim.at_least else "<="
        aim = f"aim {sign} {claim.aim:g}: {'met' if claim.met else 'MISSED'}"
        lines.append(f"  {claim.name}: {claim.median:.3g} [{low:.3g}, {high:.3g}] {claim.unit} ({aim})")  # fmt: skip
    return "\n".join([*lines, *(f"  {note}" for note in report.notes)])


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--viewers", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--scope", default="admin", help="of the viewers' keys")
    parser.add_argument("--page", default="/ui/jobs")
    parser.add_argument("--only", choices=("busy", "rest"))
    given = parser.parse_args()
    with Stack() as stack:
        bench = Bench(stack, given.jobs, given.viewers, given.scope)
        if given.only != "rest":
            report = bench.busy(given.page, Pace(given.rounds, given.seconds))
            print(told(report), flush=True)
            missed = [claim.name for claim in report.claims if not claim.met]
            print(f"MISSED: {', '.join(missed)}" if missed else "All aims were met.", flush=True)
        if given.only != "busy":
            print(bench.at_rest(given.page, AT_REST), flush=True)


if __name__ == "__main__":
    main()

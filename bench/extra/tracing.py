"""What traces cost: `python -m bench.extra.tracing`. The same parts without traces, and with a hundredth of the requests traced, in turns.

The processor time of a request counts, of the API or of the replica with its host, because the rate depends on the neighbours, too.
It differs by a tenth from one second to the next, so that a round of calls is many short slices, in turns.
"""

import json
import statistics
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace

import psutil

from bench.drain import FEWER_JOBS, LIMIT_SECONDS, NULL
from bench.submit import BODY, ECHO, PATH, order
from bench.tools import jobs
from bench.tools.command import main
from bench.tools.load import Order, drive
from bench.tools.rounds import Claim, Figures, Pace, Report, Rounds, alternate, ratios
from bench.tools.stack import AUTHORIZED, Stack
from tasks.store import verbs
from tests.collector import Collector
from tests.processes import Process

MOST = 1.02  # of the time without traces
SLICES, SLICE_SECONDS = 8, 0.6  # of a round of calls
SUBMIT, SYNC, DRAIN = "µs a submit", "µs a sync call", "µs a job"
TRACED = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}
CALL = ("POST", "/production/predict", json.dumps({"text": "x" * 1000}))
Variables = Mapping[str, str]


def processor_seconds(part: Process) -> float:
    """What it and its children have used so far."""
    root = psutil.Process(part.pid)
    times = [process.cpu_times() for process in (root, *root.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def called(api: Process, calls: Order, figure: str) -> Figures:
    """The API's processor time for each call. None is a warm-up, which would take that time and not count."""
    before = processor_seconds(api)
    measured = drive(calls)
    return {figure: (processor_seconds(api) - before) / measured.answers * 1e6}


def sliced(plan: Mapping[str, tuple[Process, Order, str]], pace: Pace) -> Rounds:
    """Rounds of calls. A figure of a round is the mean of its slices."""
    slices = replace(pace, rounds=pace.rounds * SLICES)
    short = {
        name: (part, replace(calls, seconds=SLICE_SECONDS), figure)
        for name, (part, calls, figure) in plan.items()
    }
    found = alternate({name: lambda p=p: called(*p) for name, p in short.items()}, slices)
    return {
        name: [_mean(figures[first : first + SLICES]) for first in range(0, len(figures), SLICES)]
        for name, figures in found.items()
    }


def drained(variables: Variables) -> Figures:
    """The replica's processor time for each job of a queue that came through the API, so that a hundredth has a trace."""
    with Stack().told(**variables) as stack:
        store, deployment = stack.store(), stack.deployment(NULL)
        store.run(verbs.pause(deployment.id, True))
        target = stack.api()
        while jobs.left(store, deployment) < FEWER_JOBS:
            drive(Order(target, [("POST", PATH, BODY)], AUTHORIZED, seconds=1.0, expect=201))
        stack.maintenance()
        stack.replica(NULL)
        replica, count = stack.parts()[-1], jobs.left(store, deployment)
        before = processor_seconds(replica)
        store.run(verbs.pause(deployment.id, False))
        jobs.drain_rate(lambda: jobs.left(store, deployment), count, LIMIT_SECONDS)
        return {DRAIN: (processor_seconds(replica) - before) / count * 1e6}


def online(parts: ExitStack, variables: Variables, pace: Pace) -> list[tuple[Process, Order, str]]:
    """Submissions and sync calls. Each has a stack of its own, because jobs that wait would run beside the calls."""
    waiting, running = (parts.enter_context(Stack().told(**variables)) for _ in range(2))
    waiting.deployment(ECHO)
    running.replica(ECHO)
    submits = replace(order(waiting.api(), PATH, pace), warm_seconds=0.0)
    calls = Order(running.api(), [CALL], AUTHORIZED, seconds=pace.seconds, warm_seconds=0.0)
    for first in (submits, calls):
        drive(first)
    return [(waiting.parts()[-1], submits, SUBMIT), (running.parts()[-1], calls, SYNC)]


def measure(pace: Pace) -> Report:
    """The ratios on / off."""
    collector = Collector()
    with ExitStack() as parts:
        parts.callback(collector.start().shutdown)
        both: dict[str, Variables] = {
            "off": {},
            "on": TRACED | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url},
        }
        found: list[Rounds] = []
        with ExitStack() as stacks:
            plans = {name: online(stacks, variables, pace) for name, variables in both.items()}
            for kind in range(2):
                plan = {name: made[kind] for name, made in plans.items()}
                found.append(sliced(plan, pace))
        found.append(alternate({n: lambda v=v: drained(v) for n, v in both.items()}, pace))
    rounds = {name: [_joined(each) for each in zip(*(f[name] for f in found), strict=True)] for name in both}  # fmt: skip
    claims = [
        Claim(f"{figure}, on / off", ratios(rounds, "on", "off", figure), MOST, at_least=False)
        for figure in (SUBMIT, SYNC, DRAIN)
    ]
    notes = [f"{len(collector.spans):,} spans came to the collector"]
    return Report("tracing", "traces at 1 % against none, processor time", rounds, claims, notes)


def _mean(slices: list[Figures]) -> Figures:
    return {name: statistics.fmean(each[name] for each in slices) for name in slices[0]}


def _joined(parts: tuple[Figures, ...]) -> Figures:
    return {name: value for figures in parts for name, value in figures.items()}


if __name__ == "__main__":
    main(measure)

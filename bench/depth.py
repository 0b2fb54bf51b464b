"""Long queues: `python -m bench.depth`. A store for each depth from 10^2 to 10^6 queued jobs, all at work at once.

Every sample is taken of each store before the next one, in an order that is drawn anew: whoever else wants the disk or a
core for a moment meets them all, and a p99 is made of such moments.

Times are those of the client library on one connection; the longest script is Valkey's own (SLOWLOG), by the clock: who was
sent from the core in the middle of a script has a long one. So the processor time of Valkey's thread is there, too.
"""

import contextlib
import itertools
import random
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import redis

from bench.tools import jobs
from bench.tools.command import main
from bench.tools.load import percentile
from bench.tools.rounds import Claim, Figures, Pace, Report, Rounds
from bench.tools.stack import ROOT, Stack
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment
from tasks.job import Claim as JobClaim
from tasks.job import Outcome, RequestId
from tasks.state import Status
from tasks.steering import verbs as steering
from tasks.steering.filters import START, JobFilter
from tasks.store import scripting, verbs
from tests.conditions import lasts, wait_until

ECHO = ROOT / "models" / "echo"
DEPTHS = (10**2, 10**3, 10**4, 10**5, 10**6)
FEWER_DEPTHS = (10**2, 10**4)
INPUT = b'{"text": "' + b"x" * 244 + b'"}'
SAMPLES = 1000
SWEEPER_SECONDS = 5.0
RESTART_SECONDS = 180.0
SLOWEST = "slowest script ms"
MOST_CPU = "most CPU of a call ms"
WATCHED_US = 200  # scripts that take longer are looked at
FENCES = itertools.count()
Took = dict[str, list[float]]  # verb -> milliseconds
DONE = Outcome(Status.SUCCEEDED, 1.0, b"{}", "application/json")


class Deep:
    """One store with a queue of that length."""

    def __init__(self, depth: int, parts: ExitStack) -> None:
        self.depth = depth
        self.stack = parts.enter_context(Stack())
        self.store = self.stack.store()
        self.deployment: Deployment = self.stack.deployment(ECHO)
        self.redis: Any = self.store.redis
        jobs.queue(self.store, self.deployment, 1, INPUT)  # scripts and settings are there now
        before = self._memory()
        self.ids = jobs.queue(self.store, self.deployment, depth, INPUT)
        self.bytes_per_job = (self._memory() - before) / depth - len(INPUT)
        process = self.stack.valkey.process
        assert process, "it was started"
        self._schedstat = Path(f"/proc/{process.pid}/schedstat")
        self.redis.config_set("slowlog-log-slower-than", WATCHED_US)
        self.redis.config_set("slowlog-max-len", 10_000)
        self._newest = -1  # of the slow log's entries when the round began

    def _memory(self) -> int:
        return int(self.redis.info("memory")["used_memory"])

    def _cpu(self) -> float:
        """Milliseconds for which Valkey's main thread has had a core."""
        return int(self._schedstat.read_text().split()[0]) / 1e6

    def sample(self, took: Took) -> None:
        """Times each verb once; the queue's length stays."""
        middle = self.ids[len(self.ids) // 2]
        request_id = self._timed(took, "submit", self._submit)
        self._timed(took, "status", lambda: self.store.run(verbs.read(middle)))
        self._timed(took, "cancel", lambda: self.store.run(verbs.cancel(request_id)))
        self._submit()
        claim = self._timed(took, "claim", self._claim)
        self._timed(took, "finish", lambda: self.store.run(verbs.finish(claim.lease, DONE)))

    def figures(self, took: Took) -> Figures:
        """p50 and p99 of each verb, and the slowest script."""
        figures = {
            f"{verb} {name} ms": percentile(values, share)
            for verb, values in took.items()
            if verb != MOST_CPU
            for name, share in (("p50", 0.5), ("p99", 0.99))
        }
        slowest = max(self.slowest().values(), default=WATCHED_US / 1000)
        return figures | {SLOWEST: slowest, MOST_CPU: max(took[MOST_CPU])}

    def _timed(self, took: Took, verb: str, call: Callable[[], Any]) -> Any:
        cpu, began = self._cpu(), time.perf_counter()
        answer = call()
        took.setdefault(verb, []).append((time.perf_counter() - began) * 1000)
        took.setdefault(MOST_CPU, []).append(self._cpu() - cpu)
        return answer

    def _submit(self) -> RequestId:
        return jobs.queue(self.store, self.deployment, 1, INPUT)[0]

    def _claim(self) -> JobClaim:
        fence = f"fence{next(FENCES):011d}"
        claim = self.store.run(verbs.claim(self.deployment.id, "bench:0", fence, "bench"))
        assert claim is not None
        return claim

    def swept(self) -> None:
        """A few seconds of the sweeper, and what else reads: queue status, a page of the list."""
        self.stack.maintenance()
        ends = time.monotonic() + SWEEPER_SECONDS
        while time.monotonic() < ends:
            self.store.run(verbs.queue_status(self.deployment.id))
            self.store.run(steering.find(JobFilter(key="benches1"), START, 100))
            lasts(0.05)

    def forget(self) -> None:
        """What was slow before now does not count. (After a reset of the log the next script takes 3 to 11 ms.)"""
        newest = self.redis.slowlog_get(1)
        self._newest = newest[0]["id"] if newest else -1

    def slowest(self) -> dict[str, float]:
        """Verb -> ms of its slowest run in this round."""
        names = {
            verb.function.encode(): name
            for library in (scripting.JOBS, registry.SCRIPTS, steering.SCRIPTS)
            for name, verb in library.build(self.stack.settings).verbs.items()
        }
        found: dict[str, float] = {}
        for entry in self.redis.slowlog_get(10_000):
            words = cast(bytes, entry["command"]).split()
            if (
                words[0].upper() == b"FCALL" and entry["id"] > self._newest
            ):  # the log has the commands inside scripts, too
                verb = names[words[1]]
                found[verb] = max(found.get(verb, 0.0), entry["duration"] / 1000)
        return found

    def restart_seconds(self) -> float:
        """From the start of Valkey after a SIGKILL to its first answer about the queue."""
        self.stack.valkey.kill()
        began = time.monotonic()
        with contextlib.suppress(AssertionError):  # it waits 20 s, we wait longer
            self.stack.valkey.start()
        wait_until(self.stack.valkey.answers, RESTART_SECONDS, "Valkey does not come back")
        queued = self.store.run(verbs.queue_status(self.deployment.id)).queued
        took = time.monotonic() - began
        if queued < self.depth:
            raise RuntimeError(f"{queued} of {self.depth} jobs are queued after the restart")
        return took


def command_times(client: "redis.Redis") -> dict[str, float]:
    """Command -> microseconds a call since the last reset, without those that run scripts."""
    stats = cast(dict[str, dict[str, float]], client.info("commandstats"))
    times = {name.removeprefix("cmdstat_"): row["usec_per_call"] for name, row in stats.items()}
    return {name: took for name, took in times.items() if not name.startswith(("eval", "slowlog"))}


def one_round(stores: dict[str, Deep], samples: int) -> dict[str, Figures]:
    """So many samples of every store, taken in turns."""
    took: dict[str, Took] = {name: {} for name in stores}
    for store in stores.values():
        store.forget()
    for _ in range(samples):
        for name in random.sample(list(stores), len(stores)):
            stores[name].sample(took[name])
    return {name: store.figures(took[name]) for name, store in stores.items()}


def growth(rounds: Rounds, figure: str, deep: str, shallow: str) -> list[float]:
    """How much longer it takes with the long queue than with the short one, in each round."""
    pairs = zip(rounds[deep], rounds[shallow], strict=True)
    return [ours[figure] / other[figure] for ours, other in pairs]


def measure(pace: Pace) -> Report:
    """Every verb at every depth, then memory, scripts, commands and a restart at the largest."""
    depths = FEWER_DEPTHS if pace.quick else DEPTHS
    samples = SAMPLES // 4 if pace.quick else SAMPLES
    with ExitStack() as parts:
        stores = {f"{depth:,} queued": Deep(depth, parts) for depth in depths}
        one_round(stores, 20)
        for store in stores.values():
            store.redis.config_resetstat()
        rounds: Rounds = {name: [] for name in stores}
        for number in range(pace.rounds):
            print(f"  round {number + 1}", file=sys.stderr, flush=True)
            for name, figures in one_round(stores, samples).items():
                rounds[name].append(figures)
        shallow, deep = stores[f"{depths[0]:,} queued"], stores[f"{depths[-1]:,} queued"]
        deep.forget()
        deep.swept()
        slowest, notes = deep.slowest(), _commands(shallow, deep)
        restart = [] if pace.quick else [deep.restart_seconds()]
        claims = _growths(rounds, list(stores))
        claims += [
            Claim("memory per job beyond its input", [deep.bytes_per_job], 1638, False, "bytes"),
            Claim("slowest script of a round", _of(rounds, deep, SLOWEST), 5.0, False, "ms"),
            Claim("most CPU of a call of a round", _of(rounds, deep, MOST_CPU), 5.0, False, "ms"),
        ]
        claims += [Claim("restart of Valkey", restart, 60.0, False, "s")] if restart else []
    said = ", ".join(f"{verb} {ms:.2f}" for verb, ms in sorted(slowest.items()))
    notes.append(
        f"beside the sweeper and lists of 100 with {depths[-1]:,} jobs, slowest run of each, ms: {said}"
    )
    return Report(
        "depth", "verbs of the store against the length of the queue", rounds, claims, notes
    )


def _of(rounds: Rounds, deep: Deep, figure: str) -> list[float]:
    return [values[figure] for values in rounds[f"{deep.depth:,} queued"]]


def _growths(rounds: Rounds, names: list[str]) -> list[Claim]:
    return [
        Claim(f"{figure}: {names[-1]} / {names[0]}", growth(rounds, figure, names[-1], names[0]), 2.0, False)
        for figure in rounds[names[0]][0]
        if figure not in (SLOWEST, MOST_CPU)
    ]  # fmt: skip


def _commands(shallow: Deep, deep: Deep) -> list[str]:
    """Commands inside the scripts whose time grows with the queue: the O(n) ones would."""
    few, many = command_times(shallow.redis), command_times(deep.redis)
    grown = [
        f"{name} {few[name]:.1f} -> {us:.1f} us"
        for name, us in sorted(many.items())
        if name in few and us > 3 * few[name] and us > 20
    ]
    listed = ", ".join(f"{name} {us:.1f}" for name, us in sorted(many.items()))
    said = ", ".join(grown) or "none"
    return [f"commands over 20 us that take 3 x as long: {said}", f"us a call at the end: {listed}"]


if __name__ == "__main__":
    main(measure)

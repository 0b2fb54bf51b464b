"""A large fleet at rest and at work: `python -m bench.fleet`, about five minutes; --replicas, --nodes and so on make it smaller.

Valkey, two API processes and two maintenance processes are real. So are the nodes, but their replicas are light (bench/fleet/fakes.py).
What counts is the processor time of each process and of the store, not the clock: 1,000 replicas share a small machine here. So the
longest script is that which takes most of the processor when it is run again alone (bench/fleet/replay.py). By the clock (SLOWLOG) are
only the notes.
"""

import argparse
import asyncio
import itertools
import os
import random
import re
import signal
import statistics
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

from bench.fleet import replay
from bench.tools import rounds
from bench.tools.rounds import Claim, Figures, Report
from bench.tools.stack import Stack
from deployments.registry import verbs as registry
from deployments.registry.autoscaling import Autoscaling
from deployments.registry.keys import plain
from deployments.registry.records import Deployment
from tasks.job import RequestId, Submission
from tasks.process.descriptors import raise_descriptor_limit
from tasks.store import keys, verbs
from tasks.store.job_store import AsyncJobStore, JobStore
from tests.conditions import lasts, wait_until

TICKS = os.sysconf("SC_CLK_TCK")
KEY = "benches1"
SLOW_US = 1000
SETTLE_SECONDS = 5.0
LOOK_SECONDS = 0.05
LEASES_OF = 100  # leases of one deployment
PROCESSES = 2  # of each part, and with light nodes
LEASE_SECONDS = 15.0
START_SECONDS = 900.0  # for all replicas to be there, on a small machine that others use
RECORD_SECONDS = 5.0  # every loop runs several times in it
HASH = re.compile("_[0-9a-f]{16}_")
PRIMARY = "the primary"


@dataclass(frozen=True)
class Size:
    """What the fleet has, and what is measured of it."""

    replicas: int = 1000
    nodes: int = 100
    deployments: int = 10_000
    busy: int = 100  # deployments that have replicas, as many each
    seconds: float = 60.0  # of rest that are measured
    leases: int = 1000  # that end at once
    fsync: str = "always"  # of the store
    samples: int = (
        50  # jobs of awake deployments whose start is timed, and as many of sleeping ones
    )


class Leads(threading.Thread):
    """Looks who leads the autoscalers, from `start` to `stop`."""

    def __init__(self, store: JobStore) -> None:
        super().__init__(daemon=True)
        self.seen: list[bytes | None] = []
        self._redis: Any = store.redis
        self._stopping = threading.Event()

    def run(self) -> None:
        """Until `stop`."""
        while not self._stopping.wait(LOOK_SECONDS):
            self.seen.append(self._redis.get(plain("autoscaler")))

    def stop(self) -> None:
        """Ends the looking."""
        self._stopping.set()
        self.join()


class Fleet:
    """The processes, and what the store holds."""

    def __init__(self, stack: Stack, size: Size) -> None:
        self.size, self.stack = size, stack
        self.store = stack.store()
        self.redis: Any = self.store.redis
        self.deployments: list[Deployment] = []
        self._pids: dict[str, list[int]] = {}

    def start(self) -> None:
        """Fills the store, starts everything and waits for all replicas."""
        asyncio.run(self._fill())
        for _ in range(PROCESSES):
            self.stack.maintenance()
            self.stack.api()
        parts = self.stack.parts()
        valkey = self.stack.valkey.process
        assert valkey
        self._pids = {
            PRIMARY: [valkey.pid],
            "an API process": [part.pid for part in parts if part.arguments[0] == "api"],
            "maintenance": [part.pid for part in parts if part.arguments[0] == "maintenance"],
            "the light nodes": self._nodes(),
        }
        wait_until(self._all_ready, START_SECONDS, "some replicas are not ready")
        lasts(SETTLE_SECONDS)
        self.redis.config_set("slowlog-log-slower-than", SLOW_US)
        self.redis.config_set("slowlog-max-len", 10_000)

    async def _fill(self) -> None:
        """Deployments that have served before. The first ones are wanted, and the others sleep."""
        size = self.size
        each = size.replicas // size.busy
        store = AsyncJobStore(self.stack.settings)

        async def fill(number: int) -> Deployment:
            made = await store.run(registry.push(f"model-{number}", f"{number:064x}", 1))
            wanted = each if number < size.busy else 0
            if wanted:
                await store.run(registry.configure(made.id, Autoscaling(wanted, wanted)))
            await store.run(registry.scale(made.id, wanted, 0, False, {"ready"}))
            return made

        for first in range(0, size.deployments, 200):
            numbers = range(first, min(first + 200, size.deployments))
            self.deployments += await asyncio.gather(*map(fill, numbers))
        await store.close()

    def _nodes(self) -> list[int]:
        size = self.size
        slots = size.replicas // size.nodes * 6 // 5 + 2  # a sixth of all places is free
        command = [sys.executable, "-m", "bench.fleet.fakes", "--slots", str(slots)]
        command += ["--nodes", str(size.nodes // PROCESSES)]
        of = {
            "KINGPOST_REDIS_URL": self.stack.valkey.url,
            "KINGPOST_STATE_DIR": str(self.stack.folder),
        }
        return [self.stack.program("fakes", command, **of).popen.pid for _ in range(PROCESSES)]

    def _all_ready(self) -> bool:
        return self.redis.scard(plain("replicas")) == self.size.replicas

    def _cpu(self) -> dict[str, list[float]]:
        return {name: [_cpu_seconds(pid) for pid in pids] for name, pids in self._pids.items()}

    def rest(self) -> tuple[Figures, str]:
        """The share of a core that each part takes while nobody asks for anything, and what the primary does in a second."""
        self.redis.config_resetstat()
        before, began = self._cpu(), time.monotonic()
        lasts(self.size.seconds)
        after, took = self._cpu(), time.monotonic() - began
        done = cast("dict[str, dict[str, float]]", self.redis.info("commandstats"))
        most = sorted(done.items(), key=lambda item: -item[1]["usec"])[:8]
        words = [
            f"{name.removeprefix('cmdstat_')} {of['calls'] / took:.0f} x {of['usec_per_call']:.0f} us"
            for name, of in most
        ]
        shares = {
            f"{name}, % of a core": max(
                (b - a) / took * 100 for a, b in zip(before[name], after[name], strict=True)
            )
            for name in before
        }
        return shares, ", ".join(words)

    def starts(self, of: Sequence[Deployment], seconds: float) -> list[float]:
        """Seconds from the submission of a job to its start, for jobs of these deployments, one after the other."""
        took: list[float] = []
        for deployment in of:
            request = self._submit(deployment, 1)[0]
            wait_until(lambda id_=request: self._started(id_), seconds, "a job did not start")
            job = self.store.run(verbs.read(request)).job
            took.append(((job.started or 0) - job.created) / 1000)
        return took

    def _started(self, request_id: RequestId) -> bool:
        return self.store.run(verbs.read(request_id)).job.started is not None

    def _submit(self, deployment: Deployment, count: int) -> list[RequestId]:
        made = [
            Submission(
                RequestId(f"{random.getrandbits(128):032x}"),
                deployment.id,
                deployment.model_id,
                b'{"ms": 10}',
                max_time_in_queue_ms=3_600_000,
            )
            for _ in range(count)
        ]
        return self.store.run(verbs.submit(made, KEY, 1_000_000))

    def rescues(self) -> float:
        """Seconds from the claim of many jobs, whose worker then is silent, until all of them can be claimed again."""
        away = self.deployments[-(self.size.leases // LEASES_OF or 1) :]
        each = self.size.leases // len(away)
        for deployment in away:  # so that no node starts a replica
            self.store.run(registry.activate(deployment.id, False))
            self._submit(deployment, each)
        for number in range(self.size.leases // len(away) * len(away)):
            id_ = away[number % len(away)].id
            fence = f"silent0000000000{number:016d}"
            assert self.store.run(verbs.claim(id_, f"silent:{number}", fence, "silent"))
        began = time.monotonic()
        wait_until(lambda: self.redis.zcard(keys.plain("leases")) == 0, 60, "leases are left")
        took = time.monotonic() - began
        waiting = sum(self.redis.zcard(keys.keyed("queue", deployment.id)) for deployment in away)
        assert waiting == each * len(away), "jobs were lost"
        return took

    def longest(self) -> dict[str, float]:
        """Verb -> ms of the store's processor, of those that run now. Everyone but the store is halted meanwhile."""
        calls = replay.record(self.stack.valkey.port, RECORD_SECONDS)
        halted = [pid for name, pids in self._pids.items() if name != PRIMARY for pid in pids]
        try:
            for pid in halted:
                os.kill(pid, signal.SIGSTOP)
            took = replay.processor_ms(self.redis, self._pids[PRIMARY][0], calls)
        finally:
            for pid in halted:
                os.kill(pid, signal.SIGCONT)
        return {_verb(name): ms for name, ms in took.items()}

    def slow(self) -> dict[str, list[float]]:
        """Verb or command -> ms of its runs above SLOW_US."""
        found: dict[str, list[float]] = defaultdict(list)
        for entry in self.redis.slowlog_get(10_000):
            words = cast(bytes, entry["command"]).decode(errors="replace").split()
            name = _verb(words[1]) if words[0] == "FCALL" else words[0]
            found[name].append(entry["duration"] / 1000)
        self.redis.slowlog_reset()
        return found


def _verb(function: str) -> str:
    """The library and the verb of a function's name, without the hash."""
    return HASH.sub("_", function).removeprefix("kingpost_")


def _cpu_seconds(pid: int) -> float:
    """The processor time of all threads of a process."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS


def measure(size: Size) -> Report:
    """Starts a fleet and measures it."""
    raise_descriptor_limit()
    with Stack(fsync=size.fsync) as stack:
        fleet = Fleet(stack, size)
        fleet.start()
        leads = Leads(stack.store())
        leads.start()
        resting, doing = fleet.rest()
        print(f"  at rest: {resting}\n  {doing}", file=sys.stderr, flush=True)
        longest = fleet.longest()
        sample = min(size.samples, size.busy)
        awake = random.sample(fleet.deployments[: size.busy], sample)
        last = size.deployments - size.leases // LEASES_OF - 1
        asleep = random.sample(fleet.deployments[size.busy : last], min(size.samples, last))
        started, woken = fleet.starts(awake, 30), fleet.starts(asleep, 60)
        rescued = fleet.rescues()
        leads.stop()
        slow = fleet.slow()
    return _report(size, resting, doing, started, woken, rescued, leads.seen, longest, slow)


def _report(
    size: Size, resting: Figures, doing: str, started: list[float], woken: list[float],
    rescued: float, leaders: Sequence[bytes | None], longest: dict[str, float],
    slow: dict[str, list[float]],
) -> Report:  # fmt: skip
    led = Counter(who is not None for who in leaders)
    changes = sum(a != b for a, b in itertools.pairwise(leaders))
    claims = [
        Claim("the primary at rest", [resting[f"{PRIMARY}, % of a core"]], 10, False, "% of a core"),
        Claim("an API process at rest", [resting["an API process, % of a core"]], 3, False, "% of a core"),
        Claim("longest script at rest, by the processor", [max(longest.values())], 2, False, "ms"),
        Claim("start of a job of an awake deployment, median", [statistics.median(started)], unit="s"),
        Claim("start of a job of an awake deployment, worst", [max(started)], 1, False, "s"),
        Claim("start of a job of a sleeping deployment, median", [statistics.median(woken)], unit="s"),
        Claim("start of a job of a sleeping deployment, worst", [max(woken)], unit="s"),
        Claim("looks at which one autoscaler led", [100 * led[True] / len(leaders)], 100, True, "%"),
        Claim("changes of the leader", [changes], 0, False, ""),
        Claim(f"{size.leases} leases that end at once: all claimable", [rescued], LEASE_SECONDS + 2, False, "s"),
    ]  # fmt: skip
    notes = [f"the primary, calls a second: {doing}"]
    most = sorted(longest.items(), key=lambda item: -item[1])
    notes.append(f"ms of the processor: {', '.join(f'{name} {ms:.2g}' for name, ms in most)}")
    rows = sorted(slow.items(), key=lambda item: -max(item[1]))[:10]
    words = [f"{name} {len(ms)} x, slowest {max(ms):.1f} ms" for name, ms in rows]
    notes.append(f"runs above {SLOW_US / 1000:g} ms by the clock: {'; '.join(words) or 'none'}")
    title = (
        f"{size.replicas:,} light replicas on {size.nodes} nodes, {size.deployments:,} deployments"
    )
    return Report("fleet", title, {"at rest": [resting]}, claims, notes)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    for field in fields(Size):
        parser.add_argument(
            f"--{field.name}", type=type(field.default), default=field.default, help="%(default)s"
        )
    print(rounds.show(measure(Size(**vars(parser.parse_args())))))


if __name__ == "__main__":
    main()

"""Webhooks: `python -m bench.webhooks`. A backlog of 10,000 to 50 local receivers, then one of the 50 is dead.

Throughput: the jobs have ended before the sender starts. Delay: 200 jobs a second end while it runs; from the end of
a job to the arrival of its webhook at a healthy receiver.
"""

import json
import sys
import time
import uuid

from bench.tools.command import main
from bench.tools.load import percentile
from bench.tools.rounds import Claim, Figures, Pace, Report, alternate
from bench.tools.stack import ROOT, START_SECONDS, Stack, connection
from tasks.job import Outcome, RequestId, Submission
from tasks.state import Status
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tests.conditions import lasts, wait_until

ECHO = ROOT / "models" / "echo"
BACKLOG, FEWER = 10_000, 2_000
RECEIVERS = 50
ENDING_PER_SECOND = 200
DRAIN_SECONDS = 60.0
LATE_SECONDS = 30.0


class Receivers:
    """50 receivers in one process, each a host of its own to the sender."""

    def __init__(self, stack: Stack, one_dead: bool) -> None:
        file = stack.folder / "ports.json"
        command = [sys.executable, "-m", "bench.tools.receiver", str(RECEIVERS), str(file)]
        program = stack.program("receiver", command + (["--dead"] if one_dead else []))
        program.wait_for(file.exists)
        self.ports: list[int] = json.loads(file.read_text())
        self.dead = self.ports[-1] if one_dead else None

    def url(self, number: int) -> str:
        """Receivers in turn."""
        return f"http://127.0.0.1:{self.ports[number % RECEIVERS]}/hook"

    def healthy(self, number: int) -> bool:
        """Whether that turn goes to one that answers."""
        return self.ports[number % RECEIVERS] != self.dead

    def arrivals(self) -> dict[str, float]:
        """When each came first."""
        asked = connection(f"127.0.0.1:{self.ports[0]}")
        asked.request("GET", "/arrivals")
        return json.loads(asked.getresponse().read())


class Ending:
    """Jobs with a webhook, ended one after the other as a worker does."""

    def __init__(self, stack: Stack, receivers: Receivers) -> None:
        self._store: JobStore = stack.store()
        self._deployment = stack.deployment(ECHO)
        self._receivers = receivers
        self._count = 0
        self.ended: dict[str, tuple[float, bool]] = {}  # id -> when, and whether to a healthy one

    def deliver(self) -> None:
        """Submits, claims and finishes a job."""
        number, self._count = self._count, self._count + 1
        deployment = self._deployment
        job = Submission(
            RequestId(uuid.uuid4().hex),
            deployment.id,
            deployment.model_id,
            b"{}",
            webhook=self._receivers.url(number),
        )
        self._store.run(verbs.submit([job], "benches1", 10**6))
        claim = self._store.run(
            verbs.claim(deployment.id, "bench:0", f"fence{number:011d}", "bench")
        )
        assert claim is not None
        outcome = Outcome(Status.SUCCEEDED, 1.0, b'{"ok": true}', "application/json")
        self._store.run(verbs.finish(claim.lease, outcome))
        self.ended[job.request_id] = (time.monotonic(), self._receivers.healthy(number))


def stack_for_webhooks() -> Stack:
    """Loopback receivers are allowed."""
    return Stack(webhook_allow_http="true", webhook_allow_private="true")


def backlog(count: int) -> Figures:
    """Webhooks a second, from a tenth to all of them arrived."""
    with stack_for_webhooks() as stack:
        receivers = Receivers(stack, one_dead=False)
        ending = Ending(stack, receivers)
        for _ in range(count):
            ending.one()
        stack.maintenance()
        wait_until(
            lambda: lasts(0.3) or len(receivers.arrivals()) == count,
            START_SECONDS + DRAIN_SECONDS,
            "webhooks are missing",
        )
        times = sorted(receivers.arrivals().values())
    tenth = count // 10
    return {"per second": (count - tenth) / (times[-1] - times[tenth])}


def delays(pace: Pace, one_dead: bool) -> Figures:
    """Milliseconds from the end of a job to its webhook at a healthy receiver."""
    with stack_for_webhooks() as stack:
        receivers = Receivers(stack, one_dead)
        ending = Ending(stack, receivers)
        stack.maintenance()
        ending.one()
        wait_until(receivers.arrivals, START_SECONDS, "no webhook arrives")
        ending.ended.clear()
        began = time.monotonic()
        for number in range(int(ENDING_PER_SECOND * pace.seconds * 2)):
            lasts(max(0.0, began + number / ENDING_PER_SECOND - time.monotonic()))
            ending.one()
        wanted = {webhook_id: at for webhook_id, (at, healthy) in ending.ended.items() if healthy}
        wait_until(lambda: lasts(0.2) or wanted.keys() <= receivers.arrivals().keys(), LATE_SECONDS)
        arrived = receivers.arrivals()
    took = [(arrived[webhook_id] - at) * 1000 for webhook_id, at in wanted.items()]
    return {"delay p50 ms": percentile(took, 0.5), "delay p99 ms": percentile(took, 0.99)}


def measure(pace: Pace) -> Report:
    """Throughput of a backlog; the delay with and without a dead receiver."""
    count = FEWER if pace.quick else BACKLOG
    rounds = alternate(
        {
            "backlog": lambda: backlog(count),
            "all healthy": lambda: delays(pace, one_dead=False),
            "one of 50 dead": lambda: delays(pace, one_dead=True),
        },
        pace,
    )
    rates = [values["per second"] for values in rounds["backlog"]]
    pairs = zip(rounds["one of 50 dead"], rounds["all healthy"], strict=True)
    worse = [ours["delay p99 ms"] / other["delay p99 ms"] for ours, other in pairs]
    claims = [
        Claim("backlog", rates, 1000.0, unit="webhooks/s"),
        Claim("healthy p99: one dead / all healthy", worse, 2.0, False),
    ]
    title = f"{count:,} webhooks to {RECEIVERS} local receivers, one sender"
    return Report("webhooks", title, rounds, claims)


if __name__ == "__main__":
    main(measure)

"""One chaos run: a seeded plan of faults against the real stack, then heal, drain, judge."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import aiohttp
import httpx
import redis
from prometheus_client.parser import text_string_to_metric_families

from tests.chaos import witness
from tests.chaos.client import Client, Receiver, in_parallel
from tests.chaos.ledger import FINAL, Ledger, Verdict, judge
from tests.chaos.stack import API_KEY, Stack
from tests.conditions import lasts, wait_until

KILLED = ("replica", "host", "api", "maintenance", "valkey")


@dataclass(frozen=True)
class Plan:
    """What a run does; the same seed gives the same faults."""

    seed: int
    jobs: int
    kills: int
    kinds: tuple[str, ...] = KILLED
    gap: tuple[float, float] = (0.5, 2.0)  # s between faults
    poison_every: int = 0  # every so-manieth job kills its host
    again_every: int = 0  # every so-manieth job fails at first, and is tried again after 3 s
    frozen: tuple[str, ...] = ()  # SIGSTOP for a while: replica, valkey
    freeze_seconds: float = 20.0
    freeze_after: tuple[float, float] = (1.0, 4.0)
    run_ms: tuple[int, int] = (5, 20)
    drain_seconds: float = 60.0  # without any progress

    def faults(self) -> Iterator[tuple[float, str]]:
        """(pause before it, kind) for each kill."""
        rng = random.Random(self.seed)
        for _ in range(self.kills):
            yield rng.uniform(*self.gap), rng.choice(self.kinds)


@dataclass
class Report:
    """What a run found."""

    plan: Plan
    verdict: Verdict
    ledger: Ledger
    took: float
    drained: float
    refused: int
    statuses: dict[str, int] = field(default_factory=dict[str, int])
    surprises: list[object] = field(default_factory=list[object])  # failures that nobody ordered

    def table(self) -> str:
        """The ledger for people."""
        v = self.verdict
        lines = [
            f"seed {self.plan.seed}: {self.plan.jobs} jobs in {self.took:.0f} s, drained {self.drained:.0f} s after"
        ]
        lines.append(
            "faults: " + ", ".join(f"{k} {n}" for k, n in sorted(self.ledger.faults.items()))
        )
        lines.append("final:  " + ", ".join(f"{k} {n}" for k, n in sorted(self.statuses.items())))
        rows = (
            "lost",
            "double_completed",
            "unexpected",
            "wrong",
            "silent",
            "id_drift",
            "miscounted",
        )
        lines += [f"  {name:<17} {getattr(v, name):>6}   must be 0" for name in rows]
        lines += [f"  {name:<17} {getattr(v, name):>6}" for name in ("reruns", "redeliveries")]
        lines.append(f"  {'refused (503)':<17} {self.refused:>6}")
        lines += [f"  surprise: {surprise}" for surprise in self.surprises[:5]]
        return "\n".join(lines)


class _Faults(threading.Thread):
    """Carries out the plan in the background."""

    def __init__(self, plan: Plan, stack: Stack, ledger: Ledger) -> None:
        super().__init__(daemon=True)
        self._plan, self._stack, self._ledger = plan, stack, ledger
        self.enough = threading.Event()

    def run(self) -> None:
        rng = random.Random(self._plan.seed + 1)
        thaws = [
            threading.Thread(target=self._freeze, args=(kind, rng)) for kind in self._plan.frozen
        ]
        for thaw in thaws:
            thaw.start()
        for pause, kind in self._plan.faults():
            lasts(pause)
            self._ledger.faults[self._stack.kill(kind, rng).rstrip("0123456789")] += 1
        for thaw in thaws:
            thaw.join()

    def _freeze(self, kind: str, rng: random.Random) -> None:
        lasts(rng.uniform(*self._plan.freeze_after))  # in the middle of the work
        self._ledger.faults[f"freeze {kind}"] += 1
        self._stack.freeze(kind, rng, self._plan.freeze_seconds)()


async def run(plan: Plan, stack: Stack, folder: Path) -> Report:
    """Runs the plan on a started stack."""
    ledger = Ledger(folder / "runs.txt")
    receiver = Receiver(ledger)
    runner = await receiver.start()
    rng = random.Random(plan.seed + 2)
    began = monotonic()
    async with aiohttp.ClientSession() as session:
        client = Client(stack.api_ports, ledger, session, run_ms=plan.run_ms)
        faults = _Faults(plan, stack, ledger)
        faults.start()

        async def submit(n: int) -> None:
            poison = plan.poison_every and n % plan.poison_every == plan.poison_every - 1
            if poison:
                ledger.poisoned.add(f"key-{n}")
            again = bool(plan.again_every and n % plan.again_every == 0)
            await client.submit(n, receiver.url, rng, kill=bool(poison), again=again)

        await in_parallel(plan.jobs, 16, submit)
        await asyncio.to_thread(faults.join)
        healed = monotonic()
        statuses = await _drain(client, ledger, plan.drain_seconds)
        drained = monotonic() - healed
        report = await _judge(plan, stack, client, ledger, statuses)
    await runner.cleanup()
    report.took, report.drained = healed - began, drained
    return report


async def _drain(client: Client, ledger: Ledger, seconds: float) -> dict[str, dict[str, object]]:
    """Waits until every acknowledged request is final and delivered, or none gets so for `seconds`; the statuses then."""
    ids = sorted({request_id for seen in ledger.acked.values() for request_id in seen})
    statuses: dict[str, dict[str, object]] = {}
    settled, progress = -1, monotonic()

    async def look(i: int) -> None:
        if _settled(statuses.get(ids[i], {})):
            return
        statuses[ids[i]] = await client.status(ids[i])

    while True:
        await in_parallel(len(ids), 16, look)
        count = sum(_settled(status) for status in statuses.values())
        if count > settled:
            settled, progress = count, monotonic()
        if count == len(ids) or monotonic() > progress + seconds:
            return statuses


def _settled(status: dict[str, object]) -> bool:
    return status.get("status") in FINAL and status.get("webhook_status") != "PENDING"


async def _judge(
    plan: Plan, stack: Stack, client: Client, ledger: Ledger, statuses: dict[str, dict[str, object]]
) -> Report:
    outputs: dict[str, object] = {}
    succeeded = [
        request_id for request_id, said in statuses.items() if said.get("status") == "SUCCEEDED"
    ]

    async def fetch(i: int) -> None:
        outputs[succeeded[i]] = await client.result(succeeded[i])

    await in_parallel(len(succeeded), 16, fetch)
    finals = finals_of(stack, list(statuses))
    verdict = judge(ledger, statuses, outputs, finals, counted(stack))
    counts: dict[str, int] = {}
    for said in statuses.values():
        word = str(said.get("status", "unknown"))
        counts[word] = counts.get(word, 0) + 1
    killers = {request_id for key in ledger.poisoned for request_id in ledger.acked[key]}
    surprises = [
        said
        for request_id, said in statuses.items()
        if said.get("status") == "FAILED" and request_id not in killers
    ]
    refused = len(client.refused)
    return Report(plan, verdict, ledger, 0.0, 0.0, refused, counts, list(surprises))


def counted(stack: Stack) -> Counter[str]:
    """What `/metrics` counts of all deployments, by the names of `counts_of`. Each API process says the same."""
    said: list[Counter[str]] = []
    for port in stack.api_ports:
        wait_until(lambda port=port: _metrics(port), 30, "the API gives no metrics")
        said.append(_counts_in(_metrics(port)))
    assert said == said[:1] * len(said)
    return said[0]


def _metrics(port: int) -> str:
    """'' while that API process is being started again."""
    headers = {"Authorization": f"Api-Key {API_KEY}"}
    try:
        return httpx.get(f"http://127.0.0.1:{port}/metrics", headers=headers).text
    except httpx.HTTPError:
        return ""


def _counts_in(text: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            match sample.name, sample.labels:
                case "kingpost_requests_submitted_total", _:
                    found["submitted"] += int(sample.value)
                case "kingpost_requests_finished_total", {"status": status}:
                    found[status] += int(sample.value)
                case "kingpost_webhook_attempts_total", {"verdict": "delivered"}:
                    found["delivered"] += int(sample.value)
    return found


def finals_of(stack: Stack, ids: list[str]) -> dict[str, list[str]]:
    """The final states that each job has got: there must be one."""
    with redis.Redis.from_url(stack.valkey.url) as client:
        return {request_id: witness.finals(client, request_id) for request_id in ids}

"""The ledger: what went in, what ran, what came out, and the verdict, as Jepsen's total-queue judges."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FINAL = {"SUCCEEDED", "FAILED", "EXPIRED", "CANCELED", "WEBHOOK_FAILED"}


@dataclass(frozen=True)
class Delivery:
    """One POST that the receiver got."""

    webhook_id: str
    request_id: str
    body: bytes

    @property
    def content(self) -> str:
        """A hash of what must not change between deliveries: all but the time."""
        said = json.loads(self.body)
        said.pop("time", None)
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


@dataclass
class Ledger:
    """Everything is noted outside the system under test."""

    runs_file: Path
    attempted: dict[str, int] = field(default_factory=dict[str, int])  # idempotency key -> n
    acked: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # key -> ids
    deliveries: list[Delivery] = field(default_factory=list[Delivery])
    poisoned: set[str] = field(default_factory=set[str])  # keys whose job kills its host
    faults: Counter[str] = field(default_factory=Counter[str])

    def runs(self) -> Counter[str]:
        """How often the model ran for each request id."""
        if not self.runs_file.exists():
            return Counter()
        return Counter(line.split()[0] for line in self.runs_file.read_text().splitlines() if line)


@dataclass(frozen=True)
class Verdict:
    """Counts by class; everything up to `miscounted` must be zero."""

    lost: int
    double_completed: int
    unexpected: int
    wrong: int
    silent: int
    id_drift: int
    miscounted: int
    reruns: int
    redeliveries: int

    @property
    def clean(self) -> bool:
        """True when nothing that must not happen happened."""
        must_be_zero = (self.lost, self.double_completed, self.unexpected)
        return not any((*must_be_zero, self.wrong, self.silent, self.id_drift, self.miscounted))


def expected_output(n: int) -> dict[str, object]:
    """What the ledger model must give."""
    return {"n": n, "square": n**2, "text": f"job {n} ☃"}


def judge(
    ledger: Ledger,
    statuses: Mapping[str, Mapping[str, object]],
    outputs: Mapping[str, object],
    finals_seen: Mapping[str, Sequence[str]],
    counted: Counter[str],
) -> Verdict:
    """The verdict over every acknowledged request.

    `statuses`: the GET body by id, {} for one that is unknown; `outputs`: the result of succeeded ones;
    `finals_seen`: the final states that each id has got; `counted`: what the metrics say, see `counts_of`.
    """
    ids = {request_id: key for key, seen in ledger.acked.items() for request_id in seen}
    runs = ledger.runs()
    by_id: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in ledger.deliveries:
        by_id[delivery.request_id].append(delivery)
    return Verdict(
        lost=sum(statuses[request_id].get("status") not in FINAL for request_id in ids),
        double_completed=sum(len(seen) > 1 for seen in finals_seen.values()),
        unexpected=len((set(runs) | set(by_id)) - set(ids)),
        wrong=sum(
            not _right(ledger, ids[request_id], statuses[request_id], outputs.get(request_id))
            for request_id in ids
        ),
        silent=sum(
            statuses[request_id].get("status") in FINAL and not by_id[request_id]
            for request_id in ids
        ),
        id_drift=_drift(ledger, by_id),
        miscounted=_miscounted(statuses, counted),
        reruns=sum(count - 1 for request_id, count in runs.items() if request_id in ids),
        redeliveries=sum(len(seen) - 1 for seen in by_id.values() if seen),
    )


def counts_of(said: Iterable[Mapping[str, object]]) -> Counter[str]:
    """What the metrics have to count of requests: `submitted`, each final status, and `delivered` webhooks."""
    counts: Counter[str] = Counter()
    for status in said:
        counts["submitted"] += 1
        counts[str(status.get("status"))] += 1
        counts["delivered"] += status.get("webhook_status") == "SUCCEEDED"
    return counts


def _miscounted(statuses: Mapping[str, Mapping[str, object]], counted: Counter[str]) -> int:
    expected = counts_of(statuses.values())
    names = expected.keys() | counted.keys()
    return sum(abs(expected[name] - counted[name]) for name in names)


def _right(ledger: Ledger, key: str, said: Mapping[str, object], output: object) -> bool:
    """Only jobs that kill their host may fail, and an output is what the model must give."""
    if said.get("status") == "SUCCEEDED":
        return output == expected_output(ledger.attempted[key])
    return said.get("status") != "FAILED" or key in ledger.poisoned


def _drift(ledger: Ledger, by_id: Mapping[str, Sequence[Delivery]]) -> int:
    keys_with_two_ids = sum(len(set(seen)) > 1 for seen in ledger.acked.values())
    two_webhook_ids = sum(
        len({delivery.webhook_id for delivery in seen}) > 1 for seen in by_id.values()
    )
    two_bodies = sum(len({delivery.content for delivery in seen}) > 1 for seen in by_id.values())
    return keys_with_two_ids + two_webhook_ids + two_bodies

"""What a job holds in the store: `python -m bench.tools.memory [--jobs N]`, a minute, prints bytes a job for each state.

Each figure is the growth of Valkey's used memory, divided by the number of jobs: records, indexes and streams, all told. An input
is 2 bytes and an output 2 bytes here; what they are beyond that comes on top.
"""

import argparse
import itertools
import json
import uuid
from typing import Any, cast

from bench.tools.stack import ROOT, Stack
from tasks.job import Outcome, RequestId, Submission
from tasks.state import Status
from tasks.store import verbs
from tasks.store.job_store import JobStore

ECHO = ROOT / "models" / "echo"
BATCH = 500
PART = 5000
HOOK = "https://example.com/hooks/kingpost"
DONE = Outcome(Status.SUCCEEDED, 1234.5, b"{}", "application/json", output_bytes=2)
SILENT = Outcome(Status.SUCCEEDED, 1234.5)
FENCES = itertools.count()


def used(store: JobStore) -> int:
    """Bytes that the store has in use."""
    return int(cast("dict[str, Any]", store.redis.info("memory"))["used_memory"])


def submit(store: JobStore, deployment: str, count: int, webhook: str = "") -> None:
    """Queues so many jobs."""
    for _ in range(count // BATCH):
        made = [
            Submission(RequestId(uuid.uuid4().hex), deployment, "model001", b"{}", webhook=webhook)
            for _ in range(BATCH)
        ]
        store.run(verbs.submit(made, "key00001", 10_000_000))


def run(store: JobStore, deployment: str, count: int, outcome: Outcome | None) -> None:
    """Claims so many jobs, and ends them if there is an outcome."""
    for _ in range(count):
        fence = f"worker0000000001{next(FENCES):016d}"
        claim = store.run(verbs.claim(deployment, "replica01:0", fence, f"{deployment}-0123abcd"))
        assert claim is not None
        if outcome:
            store.run(verbs.finish(claim.lease, outcome))


def measured(jobs: int) -> dict[str, float]:
    """Bytes a job, by state."""
    found: dict[str, float] = {}
    with Stack(fsync="everysec") as stack:
        store = stack.store()
        deployment = stack.deployment(ECHO).id

        def took(state: str, before: int) -> None:
            found[state] = round((used(store) - before) / jobs)

        for state, webhook, outcome in (
            ("finished", "", DONE),
            ("finished without output", "", SILENT),
            ("finished with a webhook", HOOK, DONE),
            ("running", "", None),
        ):
            before = used(store)
            for part in (min(PART, jobs - done) for done in range(0, jobs, PART)):  # or some expire
                submit(store, deployment, part, webhook)
                run(store, deployment, part, outcome)
            took(state, before)
        before = used(store)
        submit(store, deployment, jobs)
        took("queued", before)
        store.close()
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    options = parser.parse_args()
    print(json.dumps(measured(options.jobs), indent=2))


if __name__ == "__main__":
    main()

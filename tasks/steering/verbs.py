"""The verbs of lists and bulk operations, like those of single jobs in tasks/store/verbs.py.

Each run looks at a bounded number of jobs, so that the store serves others in between.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from tasks.job import Job, Reading
from tasks.state import FINAL, Status, WebhookStatus
from tasks.steering.filters import FIRST, JobFilter, Place, Turn
from tasks.store import records
from tasks.store.records import Reply, items, number, text
from tasks.store.scripting import JOBS, Library, of_jobs
from tasks.store.verbs import Argument, ScriptCall

T = TypeVar("T")
At = TypeVar("At", Place, Turn)

SCRIPTS = Library(Path(__file__).parent / "scripts", of_jobs, below=(JOBS.folder,))
LOOKED_AT = 500  # jobs in one run of a list: 2 to 3 ms of the store
MOST_LOOKED_AT = 100  # jobs in one `look`: about two milliseconds of the store
CHANGED = 25  # jobs that one step of a bulk operation changes: about two milliseconds of the store
REDELIVERED = 100  # webhooks that one step sends again: about a millisecond of the store


@dataclass(frozen=True)
class Found(Generic[At]):
    """A part of a list, and where it goes on: a Place if it is newest first, a Turn if it is next first. `ended` if there is no more."""

    jobs: list[Job]
    ended: bool
    at: At


@dataclass(frozen=True)
class Progress:
    """How far a bulk operation has come. Each job counts once, however often a step or a client was cut off."""

    ended: bool
    seen: int  # jobs that it has looked at
    matched: int
    done: int  # of those that match
    failed: int  # likewise


@dataclass(frozen=True)
class Part:
    """The next jobs of a bulk operation whose work the caller does, which then calls `advance`. `seen` is how many were looked at."""

    ended: bool
    before: Place
    after: Place
    seen: int
    jobs: list[Job]


@dataclass(frozen=True)
class Counted:
    """How many jobs of a part of a list have which status."""

    counts: Counter[Status]
    ended: bool
    place: Place


def _call(script: str, arguments: Sequence[Argument], read: Callable[[Reply], T]) -> ScriptCall[T]:
    return ScriptCall(script, arguments, read, SCRIPTS)


def _jobs(rows: Reply) -> list[Job]:
    pairs = [items(row) for row in items(rows)]
    return [records.job(text(request_id), items(flat)) for request_id, flat in pairs]


def _place(created: Reply, member: Reply) -> Place:
    return Place(text(created), text(member))


def pulse() -> ScriptCall[tuple[int, ...]]:
    """Numbers that change whenever a list of jobs would look different. Changes of progress and of level do not count."""
    return _call("pulse", [], lambda reply: tuple(map(number, items(reply))))


def find(
    wanted: JobFilter, place: Place, most: int, looked_at: int = LOOKED_AT
) -> ScriptCall[Found[Place]]:
    """The next jobs that match, at most `most`, among the next `looked_at`."""

    def read(reply: Reply) -> Found[Place]:
        ended, created, member, rows = items(reply)
        return Found(_jobs(rows), number(ended) == 1, _place(created, member))

    arguments = [place.created, place.member, looked_at, most, *wanted.arguments()]
    return _call("find", arguments, read)


def upcoming(
    wanted: JobFilter, turn: Turn, most: int, looked_at: int = LOOKED_AT
) -> ScriptCall[Found[Turn]]:
    """The next queued jobs that match, at most `most`, in the order in which each of the deployments that the filter names will claim them."""

    def read(reply: Reply) -> Found[Turn]:
        ended, deployment, line, score, member, rows = items(reply)
        at = Turn(text(deployment), number(line), text(score), text(member))
        return Found(_jobs(rows), number(ended) == 1, at)

    deployments = sorted(each for each in wanted.deployments or () if each >= turn.deployment)
    if turn.deployment not in deployments:  # the beginning, or a deployment that was deleted
        turn = FIRST
    wanted = replace(wanted, deployments=tuple(deployments), statuses=(Status.QUEUED,))
    arguments = [turn.line, turn.score, turn.member, looked_at, most, *wanted.arguments()]
    return _call("upcoming", arguments, read)


def look(request_ids: Sequence[str], owner: str = "") -> ScriptCall[dict[str, Reading]]:
    """How these jobs stand now, by id; MOST_LOOKED_AT at most. Those that are missing or of another owner are left out; '' means any."""

    def read(reply: Reply) -> dict[str, Reading]:
        now, deployments, rows = items(reply)
        paces = {text(name): (times, started) for name, times, started in map(items, items(deployments))}  # fmt: skip
        return dict(_reading(row, number(now), paces) for row in map(items, items(rows)))

    assert len(request_ids) <= MOST_LOOKED_AT
    return _call("look", [owner, *request_ids], read)


def _reading(
    row: list[Reply], now: int, paces: Mapping[str, tuple[Reply, Reply]]
) -> tuple[str, Reading]:
    request_id, flat, ahead, webhook, hold, backoff = row
    job = records.job(text(request_id), items(flat))
    pace = paces.get(job.deployment_id) if job.status not in FINAL else None
    return job.request_id, Reading(
        job=job,
        jobs_ahead=number(ahead) if number(ahead) >= 0 else None,
        webhook_status=text(webhook) or WebhookStatus.NO_WEBHOOK_PROVIDED,
        run_times_ms=tuple(float(text(each)) for each in items(pace[0])) if pace else (),
        running_since=tuple(number(each) for each in items(pace[1]) if each) if pace else (),
        now=now,
        backoff_ms=number(backoff),
        hold=text(hold),
    )


def count(wanted: JobFilter, place: Place, looked_at: int = LOOKED_AT) -> ScriptCall[Counted]:
    """How many of the next `looked_at` jobs match, by status."""

    def read(reply: Reply) -> Counted:
        ended, created, member, flat = items(reply)
        words = [text(word) if isinstance(word, bytes) else str(word) for word in items(flat)]
        pairs = zip(words[::2], words[1::2], strict=True)
        counts = Counter({Status(status): int(found) for status, found in pairs})
        return Counted(counts, number(ended) == 1, _place(created, member))

    arguments = [place.created, place.member, looked_at, *wanted.arguments()]
    return _call("count", arguments, read)


def open_operation(name: str, digest: str, keep_ms: int) -> ScriptCall[bool]:
    """Begins a bulk operation, or finds the one of that name. False if `digest` shows that the name stands for another operation."""
    return _call("open", [name, digest, keep_ms], lambda reply: text(reply) == "open")


def tally(name: str, wanted: JobFilter) -> ScriptCall[Progress]:
    """The next step of an operation that only counts."""
    return _call("tally", [name, LOOKED_AT, *wanted.arguments()], _progress)


def cancel_many(name: str, wanted: JobFilter, cancel_running: bool = True) -> ScriptCall[Progress]:
    """The next step of an operation that cancels."""
    arguments = [name, CHANGED, int(cancel_running), *wanted.arguments()]
    return _call("cancel_many", arguments, _progress)


def purge_many(name: str, wanted: JobFilter) -> ScriptCall[Progress]:
    """The next step of an operation that drops jobs with all their data."""
    return _call("purge_many", [name, CHANGED, *wanted.arguments()], _progress)


def move_many(
    name: str, wanted: JobFilter, level: int | None, deployment_id: str, max_queued: int
) -> ScriptCall[Progress]:
    """The next step of an operation that moves queued jobs to a level, to a deployment ('' = their own), or both."""
    to_level = "" if level is None else level
    arguments = [name, CHANGED, to_level, deployment_id, max_queued, *wanted.arguments()]
    return _call("move_many", arguments, _progress)


def redeliver_many(name: str) -> ScriptCall[Progress]:
    """The next step of an operation that sends the webhooks again whose delivery was given up before it began."""
    return _call("redeliver_many", [name, REDELIVERED], _progress)


def next_part(name: str, wanted: JobFilter, most: int) -> ScriptCall[Part]:
    """The next jobs of an operation whose work the caller does, at most `most`."""

    def read(reply: Reply) -> Part:
        ended, created, member, to_created, to_member, seen, rows = items(reply)
        before, after = _place(created, member), _place(to_created, to_member)
        return Part(number(ended) == 1, before, after, number(seen), _jobs(rows))

    return _call("next", [name, most, *wanted.arguments()], read)


def advance(name: str, part: Part, done: int, failed: int) -> ScriptCall[Progress]:
    """Notes that the caller has done that part. Nothing is noted twice for a part."""
    arguments: list[Argument] = [name, part.before.created, part.before.member]
    arguments += [part.after.created, part.after.member, int(part.ended)]
    arguments += [part.seen, len(part.jobs), done, failed]
    return _call("advance", arguments, _progress)


def _progress(reply: Reply) -> Progress:
    ended, seen, matched, done, failed = (number(part) for part in items(reply))
    return Progress(ended == 1, seen, matched, done, failed)

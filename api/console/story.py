"""The story of a request: what happened to it and when, in the order of time."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from api.schemas import AsyncError, RequestStatus, time_of
from kingpost.records import WAITS
from tasks.job import Job
from tasks.state import FINAL, Status
from tasks.store.story import StatusChange, changes


class Step(NamedTuple):
    """What happened. `at` is None if that is not known, `why` is '' if there is nothing to say."""

    what: str
    at: datetime | None
    why: str = ""


def story(job: Job, now: RequestStatus) -> list[Step]:
    """All that is known, oldest first."""
    known = changes(job)  # the first one is the submission
    ends = [change for change in known[1:] if change.status is not Status.IN_PROGRESS]
    whys = _errors_of(known, ends, now.errors)
    steps = [Step("submitted", time_of(known[0].at))]
    # The first errors may have no change: the store keeps the latest changes only.
    unplaced = len(now.errors) - sum(map(bool, whys.values()))
    steps += [
        Step("an attempt failed", None, _error_text(error)) for error in now.errors[:unplaced]
    ]
    claim = _claim_after_load(known, now)
    for change in known[1:]:
        if change is claim:
            steps += _load(now, steps[-1])
        steps += _steps_of(change, whys.get(change.number, ""))
    if now.status == "QUEUED":
        what = WAITS.get(now.waiting_for or "", now.waiting_for or "")
        steps.append(
            Step(f"waits for {what}" if what else "waits", now.status_at, now.waiting_reason or "")
        )
    if now.stopped_at:
        steps.append(Step(f"its call was stopped ({now.stopped_by})", now.stopped_at))
    return steps


def _claim_after_load(known: Sequence[StatusChange], now: RequestStatus) -> StatusChange | None:
    """The claim by the replica whose load the request waited for."""
    ended = now.load_ended_at
    claims = (each for each in known if each.status is Status.IN_PROGRESS)
    return next((each for each in claims if ended and time_of(each.at) >= ended), None)


def _load(now: RequestStatus, before: Step) -> Iterator[Step]:
    """When that replica was loaded. Its load may have begun before the request came."""
    began, ended = now.load_began_at, now.load_ended_at
    if began and ended:
        if before.at is None or began >= before.at:
            yield Step("a replica began to load the model", began)
        seconds = (ended - began).total_seconds()
        yield Step("the replica was ready", ended, f"Its load took {seconds:.1f} s.")


def _steps_of(change: StatusChange, why: str) -> Iterator[Step]:
    at = time_of(change.at)
    if change.status is Status.IN_PROGRESS:
        yield Step(f"attempt {change.attempt} started", at)
    elif change.status is Status.QUEUED:
        yield Step(f"attempt {change.attempt} failed" if why else "put back into the queue", at, why)  # fmt: skip
    else:
        if why and change.status is Status.FAILED:
            yield Step(f"attempt {change.attempt} failed", at, why)
            why = ""
        yield Step(change.status.lower(), at, why)


def _errors_of(
    known: Sequence[StatusChange], ends: Sequence[StatusChange], errors: Sequence[AsyncError]
) -> dict[int, str]:
    """The text of the error of each change that has one, by the change's number.

    An attempt that was put back without being charged has left no error. Errors are given out from the newest back.
    """
    attempts = {change.number + 1: change.attempt for change in known}
    left, found = list(errors), dict[int, str]()
    for change in reversed(ends):
        charged = attempts.get(change.number) == change.attempt
        failed = change.status in FINAL and change.status is not Status.SUCCEEDED
        if left and (failed or (change.status is Status.QUEUED and charged)):
            found[change.number] = _error_text(left.pop())
    return found


def _error_text(error: AsyncError) -> str:
    return f"{error.code}: {error.message}"

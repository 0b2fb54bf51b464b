"""The changes of status that a job has been through, from its record.

A record keeps what later changes would overwrite as `story`, see lib.lua; its latest change or two follow from the other
fields. Change n has the id `2n-0` among the job's events. The progress and the output chunks after it have `2n+1-m`.
"""

import re
from dataclasses import dataclass

from tasks.job import Job, Milliseconds
from tasks.state import FINAL, Status

WORD = re.compile("([QI])([0-9]+)@([0-9]+)")
STATUSES = {"Q": Status.QUEUED, "I": Status.IN_PROGRESS}


@dataclass(frozen=True, slots=True)
class StatusChange:
    """`number` counts from 0, the submission. `at` is in Unix milliseconds of Redis' clock."""

    number: int
    status: Status
    attempt: int
    at: Milliseconds


def changes(job: Job) -> list[StatusChange]:
    """All changes so far, oldest first. Of a job that was rescued hundreds of times, the oldest after the submission are missing."""
    found = [StatusChange(0, Status.QUEUED, 0, job.created)]
    for number, word in enumerate(WORD.finditer(job.story), job.story_cut + 1):
        found.append(StatusChange(number, STATUSES[word[1]], int(word[2]), int(word[3])))
    last = found[-1]
    if last.status is Status.QUEUED and job.attempt > last.attempt:  # a claim counts one more
        last = StatusChange(
            last.number + 1, Status.IN_PROGRESS, job.attempt, job.started or job.created
        )
        found.append(last)
    if job.status in FINAL:
        at = job.finished or job.status_at
        found.append(StatusChange(last.number + 1, job.status, job.attempt, at))
    return found

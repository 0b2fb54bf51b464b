"""Decides when a webhook is tried again. It has no side effects."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from tasks.outside_text import utf8, whole_number

# s after attempts 1, 2, ...: after 2 s and 5 s a short outage may be over; then as Standard Webhooks says, for 3 days.
DELAYS = (2, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
JITTER = 0.1  # of a delay, longer or shorter, so that a receiver that is back does not get all webhooks at once
RETRIED_STATUSES = frozenset({408, 409, 425, 429})
LONGEST_RETRY_AFTER = 86_400  # s

ERROR_SHOWN = 300  # characters of an exception
# How the errors of two kinds of attempts begin; the console explains them.
REFUSED, TIMED_OUT = "refused: ", "timeout"

Verdict = Literal["delivered", "retry", "failed"]


@dataclass(frozen=True)
class Attempt:
    """The result of one POST: a status, or an error if there was no answer."""

    status: int | None
    error: str = ""
    retry_after: str = ""
    final: bool = False  # refused on our side: trying again cannot help


@dataclass(frozen=True)
class Next:
    """What happens after an attempt."""

    verdict: Verdict
    delay_ms: int = 0


def after(attempt: Attempt, attempts_before: int, rng: random.Random) -> Next:
    """What happens after attempt number `attempts_before + 1`."""
    if attempt.status is not None and 200 <= attempt.status < 300:
        return Next("delivered")
    if _is_final(attempt) or attempts_before >= len(DELAYS):
        return Next("failed")
    delay = DELAYS[attempts_before] * rng.uniform(1 - JITTER, 1 + JITTER)
    delay = max(delay, retry_after_seconds(attempt.retry_after, datetime.now(UTC)))
    return Next("retry", int(delay * 1000))


def retry_after_seconds(said: str, now: datetime) -> float:
    """The seconds of a `Retry-After` in either form (RFC 9110, section 10.2.3), at most a day; 0 if it is invalid."""
    seconds = whole_number(said.strip(), LONGEST_RETRY_AFTER)
    if seconds is not None:
        return seconds
    try:
        when = parsedate_to_datetime(said)
        left = ((when if when.tzinfo else when.replace(tzinfo=UTC)) - now).total_seconds()
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0
    return min(max(left, 0), LONGEST_RETRY_AFTER)


def _is_final(attempt: Attempt) -> bool:
    """Whether trying again cannot help: redirects are not followed, and most 4xx, such as 410 Gone, would come again."""
    if attempt.status is None:
        return attempt.final
    return 300 <= attempt.status < 500 and attempt.status not in RETRIED_STATUSES


def one_line(error: Exception) -> str:
    """An exception in one line, for the record of an attempt."""
    return utf8(f"{type(error).__name__}: {error}"[:ERROR_SHOWN])

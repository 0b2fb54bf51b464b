"""When a webhook is tried again, and when it is not. Pure."""

import random
from dataclasses import dataclass
from typing import Literal

# s after attempts 1, 2, ...: at 0 s, 2 s and 5 s a blip is over, then as Standard Webhooks has it, for 3 days
DELAYS = (2, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
JITTER = 0.1  # of a delay, to both sides: receivers come back to a trickle, not to a wall
RETRIED_STATUSES = frozenset({408, 409, 425, 429})
LONGEST_RETRY_AFTER = 86_400  # s

Verdict = Literal["delivered", "retry", "failed"]


@dataclass(frozen=True)
class Attempt:
    """How one POST ended: a status, or an error word when there was none."""

    status: int | None
    error: str = ""
    retry_after: str = ""
    final: bool = False  # refused on our side: trying again cannot help


@dataclass(frozen=True)
class Next:
    """What follows an attempt."""

    verdict: Verdict
    delay_ms: int = 0


def after(attempt: Attempt, attempts_before: int, rng: random.Random) -> Next:
    """What follows attempt number `attempts_before + 1`."""
    if attempt.status is not None and 200 <= attempt.status < 300:
        return Next("delivered")
    if _is_final(attempt) or attempts_before >= len(DELAYS):
        return Next("failed")
    delay = DELAYS[attempts_before] * rng.uniform(1 - JITTER, 1 + JITTER)
    if attempt.retry_after.isdigit():
        delay = max(delay, min(int(attempt.retry_after), LONGEST_RETRY_AFTER))
    return Next("retry", int(delay * 1000))


def _is_final(attempt: Attempt) -> bool:
    """Redirects are not followed, and other 4xx (410 Gone among them) will not change their mind."""
    if attempt.status is None:
        return attempt.final
    return 300 <= attempt.status < 500 and attempt.status not in RETRIED_STATUSES

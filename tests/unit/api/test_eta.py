"""The guess of when a request is done, against a simulation with steady run times."""

import heapq
import random
from dataclasses import replace

from api.console.rendering import TEMPLATES
from api.schemas import RequestStatus, eta_seconds
from cli.client.jobs import _about
from priority.waiting import MOST_SAMPLED, Waiting, WaitingFor, in_the_queue
from tasks.job import Job, Reading, RequestId, Retry
from tasks.state import Status, WebhookStatus

NOW = 1_000_000


def reading(ahead: int, started: list[int], run_times: list[float]) -> Reading:
    job = Job(RequestId("0" * 32), Status.QUEUED, "d", "m", "k", 0, 0, Retry(), NOW, NOW)
    webhook = WebhookStatus.NO_WEBHOOK_PROVIDED
    return Reading(job, ahead, webhook, tuple(run_times), tuple(started), NOW)


def simulated(
    ahead: int, slots: int, started: list[int], rng: random.Random, seconds: float
) -> float:
    """When the job with so many ahead is done, each run within 10 % of `seconds`."""

    def run() -> float:
        return seconds * rng.uniform(0.9, 1.1)

    free = [max(run() - (NOW - start) / 1000, 0.0) for start in started] + [0.0] * (
        slots - len(started)
    )
    heapq.heapify(free)
    for _ in range(ahead):
        heapq.heapreplace(free, free[0] + run())
    return free[0] + run()


def test_nine_in_ten_guesses_are_within_a_quarter() -> None:
    rng, errors = random.Random(1), list[float]()
    for _ in range(2000):
        slots, seconds = rng.randint(1, 8), rng.choice([0.5, 5.0, 60.0])
        started = [NOW - int(rng.random() * seconds * 1000) for _ in range(rng.randint(0, slots))]
        ahead = rng.randint(0, 40) if len(started) == slots else 0
        run_times = [seconds * 1000 * rng.uniform(0.9, 1.1) for _ in range(32)]
        guess = eta_seconds(reading(ahead, started, run_times), slots)
        assert guess is not None
        actual = simulated(ahead, slots, started, rng, seconds)
        errors.append(abs(guess - actual) / actual)
    assert sorted(errors)[int(len(errors) * 0.9)] <= 0.25


def running(ran_ms: int, fraction: float | None) -> Reading:
    queued = reading(0, [], [1000.0, 1000.0, 1000.0])
    job = replace(queued.job, status=Status.IN_PROGRESS, started=NOW - ran_ms, fraction=fraction)
    return replace(queued, job=job)


def test_a_run_that_takes_longer_than_a_typical_one_has_no_guess() -> None:
    assert eta_seconds(running(400, None), 1) == 0.6
    assert eta_seconds(running(40_000, None), 1) is None
    assert eta_seconds(running(40_000, 0.5), 1) == 40.0  # by its own report
    assert eta_seconds(running(40_000, 1.0), 1) == 0.0


def test_a_paused_request_has_no_guess() -> None:
    queued = reading(0, [], [1000.0])
    assert RequestStatus.of(queued).eta_seconds == 1.0
    assert RequestStatus.of(queued, waiting=in_the_queue("paused", 0, 1)).eta_seconds is None


def test_nothing_is_guessed_before_anything_has_run() -> None:
    assert eta_seconds(reading(0, [], []), 1) is None


def test_a_queued_request_has_no_guess_while_no_replica_is_ready() -> None:
    waits = Waiting(WaitingFor.LOADING)
    assert RequestStatus.of(reading(0, [], [1000.0]), waiting=waits, slots=0).eta_seconds is None


def test_a_job_that_runs_for_longer_than_each_recent_one_takes_the_guess_of_those_behind_it() -> (
    None
):
    short, long = [1180.0] * 32, NOW - 15_000
    assert eta_seconds(reading(0, [long], short), 1) is None
    assert eta_seconds(reading(0, [long, long], short), 2) is None
    assert eta_seconds(reading(0, [long, NOW - 180], short), 2) == 2.18  # by the other slot
    many = [NOW - 180] * (MOST_SAMPLED // 2) + [long] * (MOST_SAMPLED // 2)
    assert eta_seconds(reading(0, many, short), 100) == 2.18
    assert eta_seconds(reading(0, [long] * MOST_SAMPLED, short), 100) is None


def test_a_guess_is_no_shorter_than_most_running_jobs_have_run() -> None:
    mixed = [1000.0] * 31 + [15_000.0]
    assert eta_seconds(reading(0, [NOW - 14_000], mixed), 1) == 14.0
    assert eta_seconds(reading(0, [NOW - 14_000, NOW - 500, NOW - 500], mixed), 3) == 1.0


def test_an_estimate_is_shown_with_two_digits() -> None:
    assert [_about(seconds) for seconds in (1.18, 47.3, 725.0)] == [
        "about 1.2 s", "about 47 s", "about 12 min"
    ]  # fmt: skip
    page = TEMPLATES.from_string("about {{ seconds|about }}")
    assert page.render(seconds=1.18) == _about(1.18)

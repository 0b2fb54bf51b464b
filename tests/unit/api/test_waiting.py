"""What a queued request waits for, in words, and what its caller is warned of."""

from dataclasses import replace

from api.upstream.waiting import FOR_OTHERS, deactivated, warning
from deployments.registry.records import Deployment
from priority.waiting import NOTHING, Waiting, WaitingFor, for_a_replica, in_the_queue

DEPLOYMENT = Deployment("dddddddd", "mmmmmmmm", "echo", "model", 1, "", "h", 0)
FAILURE = "Traceback\nOSError: no weights"
OFF = "echo is deactivated; activate its deployment dddddddd first."


def test_nobody_guesses_the_end_of_what_stands_still() -> None:
    assert in_the_queue("paused", 0, 4) == Waiting(WaitingFor.PAUSED, stands_still=True)
    assert not in_the_queue("key_limit", 0, 4).stands_still
    assert not in_the_queue("", 100, 4).stands_still
    assert in_the_queue("", 0, 0) == NOTHING


def test_a_deactivated_deployment_says_what_activates_it() -> None:
    off = deactivated(replace(DEPLOYMENT, active=False))
    assert off == OFF
    waiting = Waiting(WaitingFor.REPLICA, OFF, stands_still=True)
    assert for_a_replica([], None, "", False, off) == waiting
    assert for_a_replica(["loading"], None, "", False, off) == waiting


def test_a_load_that_failed_is_the_reason_until_somebody_loads_again() -> None:
    failed = Waiting(WaitingFor.LOAD_FAILED, FAILURE, stands_still=True)
    assert for_a_replica(["failed"], None, FAILURE, False) == failed
    assert for_a_replica([], None, FAILURE, False) == failed  # its replica has gone
    assert for_a_replica(["loading"], None, FAILURE, True) == failed
    assert for_a_replica([], None, FAILURE, False, OFF) == failed  # `kingpost up` left it out
    assert for_a_replica(["loading"], "a note", FAILURE, False) == Waiting(
        WaitingFor.LOADING, "a note"
    )
    assert for_a_replica([], None, "", False) == Waiting(WaitingFor.REPLICA)


def test_a_submission_warns_of_a_deployment_that_does_not_start() -> None:
    assert warning(DEPLOYMENT, True) == []
    assert warning(replace(DEPLOYMENT, failure=FAILURE), True) == []  # it is tried again
    gave_up = replace(DEPLOYMENT, failure=FAILURE, gave_up=True)
    (owners,), (others,) = warning(gave_up, True), warning(gave_up, False)
    assert owners.endswith(": echo could not be loaded: OSError: no weights")
    assert others.endswith(f": echo could not be loaded: {FOR_OTHERS}")
    (off,) = warning(replace(DEPLOYMENT, active=False), False)
    assert off.endswith(OFF)

"""One job on an idle stack: `python -m bench.idle`. From the submission to the final status in the client's hands."""

import sys
from contextlib import ExitStack

from bench.tools.command import main
from bench.tools.rounds import Claim, Pace, Report, alternate, differences
from bench.tools.roundtrip import Trips, drive
from bench.tools.stack import MODELS, Stack

NULL = MODELS / "null"
TRIPS, FEWER_TRIPS = 200, 60


def kingpost(fsync: str, parts: ExitStack) -> str:
    """A whole stack with that fsync; its API."""
    stack = parts.enter_context(Stack(fsync))
    stack.maintenance()
    stack.replica(NULL)
    return stack.api()


def textbook(parts: ExitStack) -> str:
    """FastAPI, one Celery worker as it comes, and the same host; its API."""
    stack = parts.enter_context(Stack())
    env = {"TEXTBOOK_BROKER": stack.valkey.url, "TEXTBOOK_HOST": stack.host(NULL)}
    command = [sys.executable, "-m", "celery", "-A", "bench.competitors.textbook:celery"]
    stack.program("celery", [*command, "worker", "-l", "WARNING", "-c", "2"], **env)
    return stack.served("bench.competitors.textbook:app", **env)


def measure(pace: Pace) -> Report:
    """Milliseconds of a round trip."""
    count = FEWER_TRIPS if pace.quick else TRIPS
    with ExitStack() as parts:
        orders = {
            "Kingpost, everysec": Trips(kingpost("everysec", parts), "kingpost", count),
            "textbook, everysec": Trips(textbook(parts), "textbook", count),
        }
        if not pace.quick:
            orders["Kingpost, always"] = Trips(kingpost("always", parts), "kingpost", count)
        rounds = alternate(
            {name: lambda order=order: drive(order) for name, order in orders.items()}, pace
        )
    ours = [values["p50 ms"] for values in rounds["Kingpost, everysec"]]
    theirs = [values["p50 ms"] for values in rounds["textbook, everysec"]]
    ratio = [their / our for our, their in zip(ours, theirs, strict=True)]
    claims = [
        Claim("Kingpost, everysec, p50", ours, 8.0, False, "ms"),
        Claim("textbook p50 / Kingpost p50", ratio, 1.0),
    ]
    missed = [
        values["missed %"] for name, of in rounds.items() if "Kingpost" in name for values in of
    ]
    mean = [sum(missed) / len(missed)]  # a median would hide what must never happen
    claims.append(Claim("long polls that missed the end of their job", mean, 0.0, False, "%"))
    if "Kingpost, always" in rounds:
        fsync = differences(rounds, "Kingpost, always", "Kingpost, everysec", "p50 ms")
        claims.append(Claim("what fsync adds to the p50 (always - everysec)", fsync, unit="ms"))
    title = "submit -> model call -> final status, null model, one client, nothing else to do"
    return Report("idle", title, rounds, claims)


if __name__ == "__main__":
    main(measure)

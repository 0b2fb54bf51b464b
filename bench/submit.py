"""Submitting jobs: `python -m bench.submit`. One API process each, 32 connections, 1 KB of input."""

import json
from contextlib import ExitStack

from bench.command import main
from bench.load import Order, drive
from bench.rounds import Claim, Figures, Pace, Report, alternate, ratios
from bench.stack import AUTHORIZED, ROOT, Stack

ECHO = ROOT / "models" / "echo"
BODY = json.dumps({"model_input": {"text": "x" * 1000}})


def figures(order: Order) -> Figures:
    """What a submission bench looks at."""
    measured = drive(order)
    return {
        "per second": measured.per_second,
        "p50 ms": measured.p50,
        "p99 ms": measured.p99,
    }


def targets(fsync: str, parts: ExitStack, pace: Pace) -> dict[str, Order]:
    """The two ways to submit on a Valkey with that fsync, as orders for the load generator."""
    stack = parts.enter_context(Stack(fsync))
    stack.deployment(ECHO)
    other = parts.enter_context(Stack(fsync))
    textbook = other.served(
        "bench.competitors.textbook:app", TEXTBOOK_BROKER=other.valkey.url, TEXTBOOK_HOST=""
    )
    path = "/production/async_predict"
    return {
        f"Kingpost, {fsync}": Order(
            stack.api(), [("POST", path, BODY)], AUTHORIZED, seconds=pace.seconds, expect=201
        ),
        f"apply_async, {fsync}": Order(
            textbook, [("POST", "/submit", BODY)], seconds=pace.seconds, expect=201
        ),
    }


def measure(pace: Pace) -> Report:
    """Submissions a second against the limit and FastAPI + Celery."""
    kinds = ["everysec"] if pace.quick else ["everysec", "always"]
    with ExitStack() as parts:
        limit = parts.enter_context(Stack("off")).served("bench.competitors.limit:app")
        path = "/production/async_predict"
        orders = {
            "limit": Order(
                limit, [("POST", path, BODY)], AUTHORIZED, seconds=pace.seconds, expect=201
            )
        }
        for fsync in kinds:
            orders |= targets(fsync, parts, pace)
        rounds = alternate(
            {name: lambda order=order: figures(order) for name, order in orders.items()}, pace
        )
    claims: list[Claim] = []
    for fsync in kinds:
        ours = f"Kingpost, {fsync}"
        claims += [
            Claim(f"{ours} / limit", ratios(rounds, ours, "limit", "per second"), 0.5),
            Claim(
                f"{ours} / apply_async",
                ratios(rounds, ours, f"apply_async, {fsync}", "per second"),
                4.0,
            ),
        ]
    return Report("submit", "async_predict, 1 KB, 32 connections, one API process", rounds, claims)


if __name__ == "__main__":
    main(measure)

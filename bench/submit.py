"""Submitting jobs: `python -m bench.submit`. One API process each, 32 connections, 1 KB of input."""

import json
from contextlib import ExitStack

from bench.tools.command import main
from bench.tools.load import Order, drive
from bench.tools.rounds import Claim, Figures, Pace, Report, alternate, ratios
from bench.tools.stack import AUTHORIZED, ROOT, Stack

ECHO = ROOT / "models" / "echo"
PATH = "/production/async_predict"
RATE = "per second"
BODY = json.dumps({"model_input": {"text": "x" * 1000}})


def figures(order: Order) -> Figures:
    """What a submission bench looks at."""
    measured = drive(order)
    return {
        RATE: measured.per_second,
        "p50 ms": measured.p50,
        "p99 ms": measured.p99,
    }


def contenders(fsync: str, parts: ExitStack, pace: Pace) -> dict[str, Order]:
    """The ways to submit on a Valkey with that fsync, as orders for the load generator."""
    stack = parts.enter_context(Stack(fsync))
    stack.deployment(ECHO)
    other = parts.enter_context(Stack(fsync))
    broker = other.valkey.url
    app = "bench.competitors.textbook:app"
    textbook = other.served(app, TEXTBOOK_BROKER=broker, TEXTBOOK_HOST="")
    return {
        f"Kingpost, {fsync}": order(stack.api(), PATH, pace),
        f"apply_async, {fsync}": order(textbook, "/submit", pace),
        f"apply_async in threads, {fsync}": order(textbook, "/threaded/submit", pace),
    }


def order(target: str, path: str, pace: Pace) -> Order:
    """Submissions to that path."""
    return Order(target, [("POST", path, BODY)], AUTHORIZED, seconds=pace.seconds, expect=201)


def measure(pace: Pace) -> Report:
    """Submissions a second against the limit and FastAPI + Celery."""
    kinds = ["everysec"] if pace.quick else ["everysec", "always"]
    with ExitStack() as parts:
        limit = parts.enter_context(Stack("off")).served("bench.competitors.limit:app")
        orders = {"limit": order(limit, PATH, pace)}
        for fsync in kinds:
            orders |= contenders(fsync, parts, pace)
        rounds = alternate(
            {name: lambda order=order: figures(order) for name, order in orders.items()}, pace
        )
    claims: list[Claim] = []
    for fsync in kinds:
        ours = f"Kingpost, {fsync}"
        for under, aim in (("limit", 0.5), (f"apply_async, {fsync}", 4.0)):
            claims.append(Claim(f"{ours} / {under}", ratios(rounds, ours, under, RATE), aim))
        threads = f"apply_async in threads, {fsync}"
        claims.append(Claim(f"{ours} / {threads}", ratios(rounds, ours, threads, RATE)))
    return Report("submit", "async_predict, 1 KB, 32 connections, one API process", rounds, claims)


if __name__ == "__main__":
    main(measure)

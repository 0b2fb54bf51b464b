"""Sync predict of an echo: `python -m bench.sync`. The gateway against its own model host and against other servers."""

import json
from contextlib import ExitStack
from dataclasses import replace

from bench.tools import others
from bench.tools.command import main
from bench.tools.load import Order, drive
from bench.tools.rounds import Claim, Figures, Pace, Report, alternate, differences, ratios
from bench.tools.stack import AUTHORIZED, ROOT, Stack

ECHO = ROOT / "models" / "echo"
INPUT = {"text": "x" * 1000}
BARE, ENVELOPE = json.dumps(INPUT), json.dumps({"model_input": INPUT})
HOST_PATH = "/v1/models/model:predict"
CALMLY = 100.0  # calls a second: nobody queues, so latency is the way there and back
NAMES = {"litserve": "LitServe", "bentoml": "BentoML", "truss": "Truss"}
BODIES = {"bentoml": ("/predict", ENVELOPE), "litserve": ("/predict", BARE)}


def figures(order: Order) -> Figures:
    """Throughput in a closed loop, latency in an open one."""
    full = drive(order)
    calm = drive(replace(order, rate=CALMLY, connections=8))
    return {"per second": full.per_second, "calm p50 ms": calm.p50, "calm p99 ms": calm.p99}


def measure(pace: Pace) -> Report:
    """Calls a second with 32 connections, latency at 100 calls a second."""
    names = [] if pace.quick else others.installed()
    with ExitStack() as parts:
        stack = parts.enter_context(Stack())
        host = f"unix:{stack.replica(ECHO).address}"
        plans = {
            "host, direct": (host, HOST_PATH, BARE),
            "Kingpost": (stack.api(), "/production/predict", BARE),
        }
        for name in names:
            other = parts.enter_context(Stack("off"))
            path, body = BODIES.get(name, (HOST_PATH, BARE))
            plans[NAMES[name]] = (others.SERVERS[name](other), path, body)
        orders = {
            name: Order(target, [("POST", path, body)], AUTHORIZED, seconds=pace.seconds)
            for name, (target, path, body) in plans.items()
        }
        rounds = alternate(
            {name: lambda order=order: figures(order) for name, order in orders.items()}, pace
        )
    added = differences(rounds, "Kingpost", "host, direct", "calm p50 ms")
    claims = [
        Claim("added p50 over direct", added, 1.0, False, "ms"),
        Claim("Kingpost / direct", ratios(rounds, "Kingpost", "host, direct", "per second")),
    ]
    for name in names:
        values = ratios(rounds, "Kingpost", NAMES[name], "per second")
        claims.append(Claim(f"Kingpost / {NAMES[name]}", values, 1.3))
    missing = [NAMES[server] for server in others.SERVERS if server not in names]
    notes = [f"not measured: {', '.join(missing)}"] if missing else []
    return Report("sync", "sync predict of 1 KB, 32 connections", rounds, claims, notes)


if __name__ == "__main__":
    main(measure)

"""Dynamic batching of a small transformer: `python -m bench.batching`. 16 clients, batches of up to 8 within 2 ms."""

import json
import sysconfig
from contextlib import ExitStack

from bench.sync import HOST_PATH
from bench.tools import others
from bench.tools.alone import alone
from bench.tools.command import main
from bench.tools.load import Order, drive
from bench.tools.rounds import Claim, Figures, Pace, Report, alternate, ratios
from bench.tools.stack import AUTHORIZED, MODELS, ROOT, Stack

SCORES = MODELS / "scores"
CLIENTS, BATCH = 16, 8
ALONE = "the model alone, batches of 8"
BODY = json.dumps({"tokens": list(range(32))})


def figures(target: str, path: str, pace: Pace) -> Figures:
    """Calls a second, and how long one takes."""
    order = Order(target, [("POST", path, BODY)], AUTHORIZED, CLIENTS, pace.seconds)
    measured = drive(order)
    return {"per second": measured.per_second, "p50 ms": measured.p50, "p99 ms": measured.p99}


def measure(pace: Pace) -> Report:
    """Kingpost's gateway and host against LitServe."""
    with ExitStack() as parts:
        stack = parts.enter_context(Stack())
        host = f"unix:{stack.replica(SCORES).address}"
        plans = {
            "host, direct": (host, HOST_PATH),
            "Kingpost": (stack.api(), "/production/predict"),
        }
        if "litserve" in others.installed():
            # torch comes from this virtualenv; LitServe's own packages are of the same versions
            path = f"{ROOT}:{sysconfig.get_path('purelib')}"
            other = parts.enter_context(Stack("off"))
            plans["LitServe"] = (others.litserve(other, "scores", PYTHONPATH=path), "/predict")
        contenders = {name: lambda plan=plan: figures(*plan, pace) for name, plan in plans.items()}
        contenders[ALONE] = lambda: {"per second": alone(SCORES, BODY, BATCH, pace.seconds)}
        rounds = alternate(contenders, pace)
    claims = [
        Claim(f"Kingpost / {other}", ratios(rounds, "Kingpost", other, "per second"))
        for other in ("host, direct", ALONE)
    ]
    if "LitServe" in plans:
        values = ratios(rounds, "Kingpost", "LitServe", "per second")
        claims.append(Claim("Kingpost / LitServe", values, 1.1))
        values = ratios(rounds, "LitServe", ALONE, "per second")
        claims.append(Claim(f"LitServe / {ALONE}", values))
    title = f"a small transformer, {CLIENTS} clients, batches of up to {BATCH} within 2 ms"
    return Report("batching", title, rounds, claims)


if __name__ == "__main__":
    main(measure)

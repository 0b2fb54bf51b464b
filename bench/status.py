"""Polling a status: `python -m bench.status`. One API process each, 32 connections, 1,000 requests in turn."""

from contextlib import ExitStack

from celery import Celery

from bench.submit import RATE, figures
from bench.tools import jobs
from bench.tools.command import main
from bench.tools.load import Order
from bench.tools.rounds import Claim, Pace, Report, alternate, ratios
from bench.tools.stack import AUTHORIZED, ROOT, Stack
from tasks.job import Outcome, RequestId
from tasks.state import Status
from tasks.store import verbs

ECHO = ROOT / "models" / "echo"
POLLED = 1000
KINDS = (  # ours, theirs on the event loop, theirs in threads
    ("Kingpost, finished", "AsyncResult, SUCCESS", "AsyncResult in threads, SUCCESS"),
    ("Kingpost, queued", "AsyncResult, PENDING"),
)


def polls(prefix: str, ids: list[str]) -> list[tuple[str, str, str]]:
    """One GET for each id."""
    return [("GET", f"{prefix}/{request_id}", "") for request_id in ids]


def finished(stack: Stack) -> list[RequestId]:
    """Jobs that have succeeded, as a worker leaves them."""
    store, deployment = stack.store(), stack.deployment(ECHO)
    ids = jobs.queue(store, deployment, POLLED)
    for number in range(POLLED):
        claim = store.run(verbs.claim(deployment.id, "bench:0", f"fence{number:011d}", "bench"))
        assert claim is not None
        outcome = Outcome(Status.SUCCEEDED, 1.0, b'{"ok": true}', "application/json")
        store.run(verbs.finish(claim.lease, outcome))
    return ids


def results(broker: str) -> list[str]:
    """Tasks that have succeeded, as a Celery worker leaves them."""
    app = Celery(broker=broker, backend=broker)
    ids = [f"{number:032x}" for number in range(POLLED)]
    for task_id in ids:
        app.backend.store_result(task_id, {"ok": True}, "SUCCESS")
    return ids


def measure(pace: Pace) -> Report:
    """Polls a second of finished and of queued requests."""
    with ExitStack() as parts:
        limit = parts.enter_context(Stack("off")).served("bench.competitors.limit:app")
        stack = parts.enter_context(Stack())
        done = finished(stack)
        queued = jobs.queue(stack.store(), stack.deployment(ECHO), POLLED)
        api = stack.api()
        other = parts.enter_context(Stack())
        broker = other.valkey.url
        textbook = other.served(
            "bench.competitors.textbook:app", TEXTBOOK_BROKER=broker, TEXTBOOK_HOST=""
        )
        plans = {
            "limit": (limit, polls("/async_request", done)),
            "Kingpost, finished": (api, polls("/async_request", done)),
            "Kingpost, queued": (api, polls("/async_request", queued)),
            "AsyncResult, SUCCESS": (textbook, polls("/status", results(broker))),
            "AsyncResult in threads, SUCCESS": (
                textbook,
                polls("/threaded/status", results(broker)),
            ),
            "AsyncResult, PENDING": (
                textbook,
                polls("/status", [f"p{number}" for number in queued]),
            ),
        }
        kinds = KINDS[:1] if pace.quick else KINDS
        wanted = {"limit", *(name for kind in kinds for name in kind)}
        contenders = {
            name: lambda target=target, calls=calls: figures(
                Order(target, calls, AUTHORIZED, seconds=pace.seconds)
            )
            for name, (target, calls) in plans.items()
            if name in wanted
        }
        rounds = alternate(contenders, pace)
    claims: list[Claim] = []
    for ours, on_loop, *in_threads in kinds:
        claims.append(Claim(f"{ours} / limit", ratios(rounds, ours, "limit", RATE), 0.6))
        claims.append(Claim(f"{ours} / {on_loop}", ratios(rounds, ours, on_loop, RATE), 3.0))
        claims += [
            Claim(f"{ours} / {threaded}", ratios(rounds, ours, threaded, RATE))
            for threaded in in_threads
        ]
    return Report("status", "GET of a status, 32 connections, one API process", rounds, claims)


if __name__ == "__main__":
    main(measure)

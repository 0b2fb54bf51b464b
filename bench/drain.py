"""Emptying a queue of jobs that do nothing: `python -m bench.drain`. 20,000 jobs, one replica, AOF everysec."""

import sys

import redis
from celery import Celery

from bench.tools import jobs, others
from bench.tools.command import main
from bench.tools.load import Order, drive
from bench.tools.rounds import Claim, Figures, Pace, Report, alternate, ratios
from bench.tools.stack import MODELS, Stack

NULL = MODELS / "null"
JOBS, FEWER_JOBS = 20_000, 3_000
LIMIT_SECONDS = 120.0
WORKER = ["-P", "prefork", "-c", "2"]  # as Celery comes on two cores; 8 threads were slower


def kingpost(count: int) -> Figures:
    """One replica with 8 slots."""
    with Stack() as stack:
        store, deployment = stack.store(), stack.deployment(NULL)
        jobs.queue(store, deployment, count)
        stack.maintenance()
        stack.start("replica", str(NULL))
        rate = jobs.drain_rate(lambda: jobs.left(store, deployment), count, LIMIT_SECONDS)
        return {"jobs per second": rate}


def textbook(count: int) -> Figures:
    """One Celery worker whose task calls the same model host over the same Unix socket."""
    with Stack() as stack:
        broker, results = stack.valkey.url, stack.valkey.url[:-1] + "1"
        app = Celery(broker=broker, backend=results)
        with app.producer_pool.acquire(block=True) as producer:
            for _ in range(count):
                app.send_task("predict", args=[{}], producer=producer)
        env = {"TEXTBOOK_BROKER": broker, "TEXTBOOK_RESULTS": results}
        command = [sys.executable, "-m", "celery", "-A", "bench.competitors.textbook:celery"]
        command += ["worker", "-l", "WARNING", *WORKER]
        stack.program("celery", command, TEXTBOOK_HOST=stack.host(NULL), **env)
        with redis.Redis.from_url(results) as client:
            rate = jobs.drain_rate(lambda: count - client.dbsize(), count, LIMIT_SECONDS)
        return {"jobs per second": rate}


def bentoml(seconds: float) -> Figures:
    """BentoML tasks. It has no queue that can wait: a task runs when its submission is answered, so both are timed."""
    with Stack("off") as stack:
        calls = [("POST", "/nothing/submit", '{"model_input": {}}')]
        measured = drive(Order(others.bentoml(stack), calls, seconds=seconds))
        return {"jobs per second": measured.per_second}


def measure(pace: Pace) -> Report:
    """Jobs a second."""
    count = FEWER_JOBS if pace.quick else JOBS
    contenders = {"Kingpost": lambda: kingpost(count), "Celery": lambda: textbook(count)}
    if "bentoml" in others.installed() and not pace.quick:
        contenders["BentoML tasks"] = lambda: bentoml(pace.seconds)
    rounds = alternate(contenders, pace)
    rates = [values["jobs per second"] for values in rounds["Kingpost"]]
    claims = [Claim("Kingpost", rates, 1000.0, unit="jobs/s")]
    for name in contenders:
        if name != "Kingpost":
            values = ratios(rounds, "Kingpost", name, "jobs per second")
            claims.append(Claim(f"Kingpost / {name}", values, 2.0))
    title = f"{count:,} queued jobs of a null model, one replica, AOF everysec"
    return Report("drain", title, rounds, claims)


if __name__ == "__main__":
    main(measure)

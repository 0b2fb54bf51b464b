"""What the store's own clock costs: `python -m bench.extra.clock`, a minute.

The same jobs, submitted, claimed, renewed and finished by one client, with the scripts as they are and with the wall's
clock alone. Counted is Valkey's own work, which a busy neighbour does not change much.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from bench.tools import jobs
from bench.tools.command import main
from bench.tools.rounds import Claim, Figures, Pace, Report, alternate, ratios
from bench.tools.stack import MODELS, Stack
from deployments.registry.records import Deployment
from tasks.job import Outcome
from tasks.settings import Settings
from tasks.state import Status
from tasks.store import scripting, verbs
from tasks.store.job_store import JobStore

WALL = """
local function wall_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local now_ms = wall_ms
"""
JOBS_A_SECOND = 500  # roughly, for the length of a round
DONE = Outcome(Status.SUCCEEDED, 1.0, b"1", "application/json")
FIGURE = "µs of Valkey a job"


@contextmanager
def clock(text: str) -> Iterator[None]:
    """Scripts that are built meanwhile have that clock."""
    ours, scripting.CLOCK = scripting.CLOCK, text
    try:
        yield
    finally:
        scripting.CLOCK = ours


def once(settings: Settings, deployment: Deployment, text: str, count: int) -> Figures:
    """So many jobs from submit to finish."""
    with clock(text):
        store = JobStore(settings)
        store.run(verbs.queue_status(deployment.id))  # the first verb has the scripts built
    before = _worked(store)
    jobs.queue(store, deployment, count)
    for number in range(count):
        claim = store.run(verbs.claim(deployment.id, "bench", f"{number:032x}{text is WALL}", "r"))
        assert claim
        store.run(verbs.renew([claim.lease]))
        store.run(verbs.finish(claim.lease, DONE))
    worked = _worked(store) - before
    store.close()
    return {FIGURE: worked / count * 1e6}


def _worked(store: JobStore) -> float:
    """Seconds of Valkey's main thread."""
    said = cast(dict[str, float], store.redis.info("cpu"))
    return said["used_cpu_user_main_thread"] + said["used_cpu_sys_main_thread"]


def measure(pace: Pace) -> Report:
    """The ratio of the store's work with its own clock and without."""
    count = int(pace.seconds * JOBS_A_SECOND)
    with Stack(fsync="everysec") as stack:
        deployment = stack.deployment(MODELS / "fixed")
        texts = {"store's clock": scripting.CLOCK, "wall's clock": WALL}
        rounds = alternate(
            {
                name: lambda text=text: once(stack.settings, deployment, text, count)
                for name, text in texts.items()
            },
            pace,
        )
    ratio = ratios(rounds, "store's clock", "wall's clock", FIGURE)
    claim = Claim("store's clock / wall's clock, work of Valkey", ratio, 1.1, at_least=False)
    return Report("clock", f"{count} jobs: submit, claim, renew, finish", rounds, [claim])


if __name__ == "__main__":
    main(measure)

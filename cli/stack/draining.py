"""The lines that `kingpost up` prints when it ends: what it waits for, and what a second Ctrl-C cuts off."""

import asyncio

from deployments.registry import verbs as registry
from tasks.errors import StoreUnavailable
from tasks.settings import Settings
from tasks.store import verbs
from tasks.store.job_store import JobStore

# How long the store may take to count the running jobs. After that the lines are printed without the number, so that they delay nothing.
ASK_SECONDS = 1.0


async def running_jobs(settings: Settings) -> int | None:
    """The number of running jobs. None if the store does not answer."""
    try:
        return await asyncio.wait_for(asyncio.to_thread(_running_jobs, settings), ASK_SECONDS)
    except (TimeoutError, StoreUnavailable):
        return None


def _running_jobs(settings: Settings) -> int:
    store = JobStore(settings)
    try:
        known = store.run(registry.deployments())
        return sum(store.run(verbs.queue_status(deployment.id)).in_progress for deployment in known)
    finally:
        store.close()


def waits_for(running: int | None, seconds: float) -> str:
    """The line after the first Ctrl-C. `running` is the number of jobs, None if it is not known; `seconds` is the limit for draining."""
    most = f"at most {seconds:g} s"
    if running == 0:
        what = f"no job runs; open calls get {most}"
    elif running is None:
        what = f"running jobs and open calls get {most}"
    else:
        what = f"{_jobs(running)}; {'it' if running == 1 else 'they'} and open calls get {most}"
    return f"Draining: {what}. Ctrl-C again ends it now."


def cut_off(running: int | None) -> str:
    """The line after the second Ctrl-C. `running` is the number of jobs, None if it is not known."""
    if running == 0:
        what = "no job ran; open calls were cut off"
    elif running is None:
        what = "running jobs and open calls were cut off; the jobs are tried again after the next start"
    else:
        again = "it is tried again" if running == 1 else "they are tried again"
        were = "1 running job was" if running == 1 else f"{running} running jobs were"
        what = f"{were} cut off, and {again} after the next start; so were open calls"
    return f"Ended at once: {what}."


def _jobs(running: int) -> str:
    return "1 job runs" if running == 1 else f"{running} jobs run"

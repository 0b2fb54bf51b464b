"""Logs which requests a replica ran when it died, so that their logs show it before another replica runs them."""

from collections.abc import Iterable

from deployments.registry.records import Deployment
from tasks.process.logs import get_logger
from tasks.store import verbs
from tasks.store.job_store import AsyncJobStore

log = get_logger("node")

MOST_NAMED = 50  # requests of one deployment


async def tell_death(
    store: AsyncJobStore, replica_id: str, exit: str, served: Iterable[Deployment]
) -> None:
    """Logs a line for each request that the replica ran, or one line if it ran none. Raises StoreUnavailable.

    `exit` says how it ended, such as "SIGKILL". `served` are the deployments that it served.
    """
    for deployment in served:
        of = {"replica": replica_id, "deployment": deployment.id, "model": deployment.model_name}
        requests = await store.run(verbs.running_on(deployment.id, replica_id, MOST_NAMED))
        for request_id in requests:
            why = "this request is queued again when its lease has run out"
            log.error("replica.died", request_id=request_id, exit=exit, next=why, **of)
        if not requests:
            log.error("replica.died", exit=exit, **of)

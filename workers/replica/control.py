"""Lets Flower's revoke and terminate buttons cancel the request. Our `revoke` replaces Celery's."""

from collections.abc import Iterable
from typing import Any, Protocol

from celery import Celery
from celery.worker.control import Panel

from tasks.errors import StoreUnavailable
from tasks.process.logs import get_logger
from tasks.store import verbs
from tasks.store.job_store import JobStore

log = get_logger("control")


class _HasStore(Protocol):
    store: JobStore


def take_over_revoke(app: Celery, replica: _HasStore) -> None:
    """Makes a `revoke` broadcast cancel the jobs with these request ids, whoever owns them."""
    del app  # the panel of control commands is Celery's own and global

    def revoke(
        state: Any, task_id: str | Iterable[str], terminate: bool = False, **_: Any
    ) -> dict[str, str]:
        del state, terminate  # a queued and a running request are cancelled the same way
        ids = [task_id] if isinstance(task_id, str) else list(task_id)
        return {
            "ok": ", ".join(
                f"{request_id} {_cancel(replica.store, request_id)}" for request_id in ids
            )
        }

    Panel.register(name="revoke", variadic="task_id", signature="[id1 [id2 [... [idN]]]]")(revoke)


def _cancel(store: JobStore, request_id: str) -> str:
    """Cancels a request and returns what became of it, for Flower to show."""
    try:
        answer, _ = store.run(verbs.cancel(request_id))
    except StoreUnavailable as error:
        return f"not canceled: {error}"
    log.info("request.revoked", request_id=request_id, word=str(answer))
    return str(answer)

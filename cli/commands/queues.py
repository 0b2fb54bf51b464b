"""`kingpost pause` and `kingpost resume`: hold back a model's jobs, and let them run again."""

from typing import Annotated

import typer

from cli.auditing import audited
from cli.running import current_settings
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment
from tasks.errors import NotFound
from tasks.store import verbs
from tasks.store.job_store import JobStore

ModelArgument = Annotated[str, typer.Argument(help="A model's name or id.")]


def pause(model: ModelArgument) -> None:
    """Holds back a model's queued requests. Running ones finish; new ones are accepted."""
    waiting = _set_paused(model, True)
    print(
        f"{model} is paused. Requests that wait: {waiting}. `kingpost resume {model}` lets them run."
    )


def resume(model: ModelArgument) -> None:
    """Lets the queued requests of a paused model run again."""
    waiting = _set_paused(model, False)
    print(f"{model} runs again. Requests that wait: {waiting}.")


def _set_paused(model: str, paused: bool) -> int:
    store = JobStore(current_settings())
    with audited(store, "model.pause" if paused else "model.resume", model):
        waiting = [
            store.run(verbs.pause(deployment.id, paused))
            for deployment in _deployments(store, model)
        ]
    store.close()
    return sum(waiting)


def _deployments(store: JobStore, model: str) -> list[Deployment]:
    known = store.run(registry.deployments())
    found = [
        deployment for deployment in known if model in (deployment.model_name, deployment.model_id)
    ]
    if not found:
        names = ", ".join(sorted({deployment.model_name for deployment in known})) or "none"
        raise NotFound(f"There is no model {model!r} (deployed: {names}).")
    return found

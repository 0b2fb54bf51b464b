"""`kingpost pause` and `kingpost resume`: hold back a model's jobs, let them go on."""

from cli.running import current_settings
from deployments.registry.registry import Deployment, Registry
from tasks.errors import NotFound
from tasks.settings import Settings
from tasks.store import verbs
from tasks.store.job_store import JobStore


def pause(model: str) -> None:
    """No job of the model starts until `kingpost resume`; running ones end, new ones may be submitted."""
    waiting = _set_paused(model, True)
    print(f"{model} is paused; {waiting} waiting. `kingpost resume {model}` lets them run.")


def resume(model: str) -> None:
    """Lets the jobs of a paused model run."""
    waiting = _set_paused(model, False)
    print(f"{model} runs again; {waiting} waiting.")


def _set_paused(model: str, paused: bool) -> int:
    settings = current_settings()
    store = JobStore(settings)
    waiting = [
        store.run(verbs.pause(deployment.id, paused))
        for deployment in _deployments(settings, model)
    ]
    store.close()
    return sum(waiting)


def _deployments(settings: Settings, model: str) -> list[Deployment]:
    known = Registry(settings).all()
    found = [
        deployment for deployment in known if model in (deployment.model_name, deployment.model_id)
    ]
    if not found:
        names = ", ".join(sorted({deployment.model_name for deployment in known})) or "none"
        raise NotFound(f"There is no model {model!r} (deployed: {names}).")
    return found

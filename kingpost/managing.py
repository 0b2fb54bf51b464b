"""The calls about models, deployments and environments, each described once as a flow, as in `kingpost.calls`."""

from collections.abc import Sequence

from kingpost.calls import JSON, _json, _object, _quoted
from kingpost.flow import Flow, Request, ask
from kingpost.records import Deployment, Environment, Model


def list_models() -> Flow[Sequence[Model]]:
    """Every model that the key may call."""
    said = _object((yield from ask(Request("GET", "/v1/models"))))
    if "models" in said:
        return [Model.of(entry) for entry in said["models"]]
    return [Model(name=entry["id"], raw=entry) for entry in said["data"]]


def get_model(model: str) -> Flow[Model]:
    """One model, by name or id."""
    return Model.of(_object((yield from ask(Request("GET", _model(model))))))


def list_deployments(model: str) -> Flow[Sequence[Deployment]]:
    """The deployments of a model, oldest first."""
    said = _object((yield from ask(Request("GET", f"{_model(model)}/deployments"))))
    return [Deployment.of(entry) for entry in said["deployments"]]


def get_deployment(model: str, deployment: str = "production") -> Flow[Deployment]:
    """One deployment, by its id or by the environment that points at it."""
    return Deployment.of(_object((yield from ask(Request("GET", _of(model, deployment))))))


def activate(model: str, deployment: str) -> Flow[bool]:
    """Lets a deployment run again. Returns whether that changed anything."""
    return (yield from _act(model, deployment, "activate"))


def deactivate(model: str, deployment: str) -> Flow[bool]:
    """Stops a deployment's replicas; its queued requests wait. Returns whether that changed anything."""
    return (yield from _act(model, deployment, "deactivate"))


def promote(model: str, deployment: str, environment: str = "production") -> Flow[Deployment]:
    """Warms up a deployment, then switches an environment to it."""
    path = f"{_model(model)}/environments/{_quoted(environment)}/promote"
    body = _json({"deployment_id": deployment})
    answer = yield from ask(Request("POST", path, headers=JSON, content=body))
    return Deployment.of(_object(answer))


def rollback(model: str, environment: str = "production") -> Flow[Environment]:
    """Switches an environment back to its previous deployment, or cancels its promotion."""
    path = f"{_model(model)}/environments/{_quoted(environment)}/rollback"
    return Environment.of(_object((yield from ask(Request("POST", path, repeatable=False)))))


def create_environment(model: str, environment: str) -> Flow[Environment]:
    """Makes an environment that points at nothing yet."""
    body = _json({"name": environment})
    path = f"{_model(model)}/environments"
    answer = yield from ask(Request("POST", path, headers=JSON, content=body, repeatable=False))
    return Environment.of(_object(answer))


def list_environments(model: str) -> Flow[Sequence[Environment]]:
    """The environments of a model, and the deployments that they point at."""
    said = _object((yield from ask(Request("GET", f"{_model(model)}/environments"))))
    return [Environment.of(entry) for entry in said["environments"]]


def get_environment(model: str, environment: str) -> Flow[Environment]:
    """One environment of a model."""
    path = f"{_model(model)}/environments/{_quoted(environment)}"
    return Environment.of(_object((yield from ask(Request("GET", path)))))


def delete_model(model: str, *, force: bool = False) -> Flow[int]:
    """Deletes a model with all its deployments and environments. Returns how many requests were cancelled. Raises Conflict if it has requests, unless `force` cancels them."""
    return (yield from _delete(_model(model), force))


def delete_deployment(model: str, deployment: str, *, force: bool = False) -> Flow[int]:
    """Deletes a deployment, as `delete_model`. One that an environment points at needs `force`, too: raises ApiError 400."""
    return (yield from _delete(_of(model, deployment), force))


def _delete(path: str, force: bool) -> Flow[int]:
    params = {"force": "true"} if force else {}
    request = Request("DELETE", path, params, read_seconds=300.0)  # it cancels each request
    return int(_object((yield from ask(request)))["canceled_requests"])


def _act(model: str, deployment: str, verb: str) -> Flow[bool]:
    said = _object((yield from ask(Request("POST", f"{_of(model, deployment)}/{verb}"))))
    return not said["no_op"]


def _model(model: str) -> str:
    return f"/v1/models/{_quoted(model)}"


def _of(model: str, deployment: str) -> str:
    return f"{_model(model)}/deployments/{_quoted(deployment)}"

"""The calls about models, deployments and environments, each described once as a flow, as in `kingpost.calls`."""

from collections.abc import Sequence

from kingpost.calls import JSON, json_body, json_object, path_segment
from kingpost.flow import Flow, Request, ask
from kingpost.records import Deployment, Environment, Model

DELETE_SECONDS = 300.0  # how long the answer may take: `force` cancels each request first


def list_models() -> Flow[Sequence[Model]]:
    """Every model that the key may call."""
    said = json_object((yield from ask(Request("GET", "/v1/models"))))
    if "models" in said:  # the management API, for a key that may deploy
        return [Model.of(entry) for entry in said["models"]]
    # As OpenAI lists models: `id` is the name. An earlier server says no other id.
    return [
        Model(name=entry["id"], id=entry.get("model_id", ""), raw=entry) for entry in said["data"]
    ]


def get_model(model: str) -> Flow[Model]:
    """One model, by name or id."""
    return Model.of(json_object((yield from ask(Request("GET", model_path(model))))))


def list_deployments(model: str) -> Flow[Sequence[Deployment]]:
    """The deployments of a model, oldest first."""
    said = json_object((yield from ask(Request("GET", f"{model_path(model)}/deployments"))))
    return [Deployment.of(entry) for entry in said["deployments"]]


def get_deployment(model: str, deployment: str = "production") -> Flow[Deployment]:
    """One deployment, by its id or by the name of an environment that points at it."""
    return Deployment.of(
        json_object((yield from ask(Request("GET", deployment_path(model, deployment)))))
    )


def activate(model: str, deployment: str) -> Flow[bool]:
    """Lets a deployment run again. Returns whether that changed anything."""
    return (yield from _switch(model, deployment, "activate"))


def deactivate(model: str, deployment: str) -> Flow[bool]:
    """Stops a deployment's replicas; its queued requests wait. Returns whether that changed anything."""
    return (yield from _switch(model, deployment, "deactivate"))


def promote(model: str, deployment: str, environment: str = "production") -> Flow[Deployment]:
    """Warms up a deployment, then switches an environment to it."""
    path = f"{model_path(model)}/environments/{path_segment(environment)}/promote"
    body = json_body({"deployment_id": deployment})
    answer = yield from ask(Request("POST", path, headers=JSON, content=body))
    return Deployment.of(json_object(answer))


def rollback(model: str, environment: str = "production") -> Flow[Environment]:
    """Switches an environment back to its previous deployment, or cancels its promotion."""
    path = f"{model_path(model)}/environments/{path_segment(environment)}/rollback"
    return Environment.of(json_object((yield from ask(Request("POST", path, repeatable=False)))))


def create_environment(model: str, environment: str) -> Flow[Environment]:
    """Makes an environment that points at nothing yet."""
    body = json_body({"name": environment})
    path = f"{model_path(model)}/environments"
    answer = yield from ask(Request("POST", path, headers=JSON, content=body, repeatable=False))
    return Environment.of(json_object(answer))


def list_environments(model: str) -> Flow[Sequence[Environment]]:
    """The environments of a model, and the deployments that they point at."""
    said = json_object((yield from ask(Request("GET", f"{model_path(model)}/environments"))))
    return [Environment.of(entry) for entry in said["environments"]]


def get_environment(model: str, environment: str) -> Flow[Environment]:
    """One environment of a model."""
    path = f"{model_path(model)}/environments/{path_segment(environment)}"
    return Environment.of(json_object((yield from ask(Request("GET", path)))))


def delete_model(model: str, *, force: bool = False) -> Flow[int]:
    """Deletes a model with all its deployments and environments. Returns how many requests were cancelled.

    Raises Conflict if it has unfinished requests. With `force` they are cancelled instead.
    """
    return (yield from _delete(model_path(model), force))


def delete_deployment(model: str, deployment: str, *, force: bool = False) -> Flow[int]:
    """Deletes a deployment, as `delete_model`. One that an environment points at needs `force`, too: raises ApiError 400."""
    return (yield from _delete(deployment_path(model, deployment), force))


def _delete(path: str, force: bool) -> Flow[int]:
    params = {"force": "true"} if force else {}
    request = Request("DELETE", path, params, read_seconds=DELETE_SECONDS)
    return int(json_object((yield from ask(request)))["canceled_requests"])


def _switch(model: str, deployment: str, verb: str) -> Flow[bool]:
    said = json_object(
        (yield from ask(Request("POST", f"{deployment_path(model, deployment)}/{verb}")))
    )
    return not said["no_op"]


def model_path(model: str) -> str:
    """The path of a model, by name or id."""
    return f"/v1/models/{path_segment(model)}"


def deployment_path(model: str, deployment: str) -> str:
    """The path of a deployment, by its id or an environment."""
    return f"{model_path(model)}/deployments/{path_segment(deployment)}"

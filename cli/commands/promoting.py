"""`kingpost promote`, `rollback`, `activate`, `deactivate`: by a server's API, or on the store of this machine."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from cli.client.choosing import chosen_client
from cli.options import AsJson, say
from kingpost.errors import Error
from kingpost.errors import NotFound as NotThere
from kingpost.records import RESERVED
from tasks.errors import NotFound
from tasks.outside_text import printable

if TYPE_CHECKING:
    from kingpost import Client

Model = Annotated[str, typer.Argument(help="A model's name or id.")]
DeploymentId = Annotated[str, typer.Argument(help="Id of the deployment.")]
EnvironmentName = Annotated[
    str, typer.Option("--environment", "-e", help="Name of the environment.")
]
Force = Annotated[
    bool, typer.Option("--force", help="Also one whose last load failed: it is loaded again.")
]


class LoadFailed(Error):
    """The deployment could not be loaded the last time."""


@dataclass(frozen=True)
class Pointers:
    """What an environment points at, what warms up to take its place, and what it pointed at before; '' for nothing."""

    current: str = ""
    candidate: str = ""
    previous: str = ""


class Registry(Protocol):
    """Where models are managed: a server, or the store of this machine."""

    # Whether queued requests move along when an environment switches. None: only the server knows.
    follows: bool | None

    def pointers(self, model: str, environment: str) -> Pointers:
        """What the environment points at now; empty Pointers if there is no such environment."""
        ...

    def load_failure(self, model: str, deployment_id: str) -> str:
        """Why the last load of the deployment failed; '' if it did not."""
        ...

    def promote(self, model: str, deployment_id: str, environment: str) -> None:
        """Warms up the deployment, then switches the environment to it."""
        ...

    def rollback(self, model: str, environment: str) -> None:
        """Switches the environment back to its previous deployment, or cancels its promotion."""
        ...

    def set_active(self, deployment_id: str, active: bool) -> tuple[str, bool]:
        """Activates or deactivates a deployment. Returns the name of its model, and whether that changed anything. Raises NotFound."""
        ...

    def queued(self, model: str, deployment_id: str) -> int:
        """How many requests wait."""
        ...


class RegistryOnServer:
    """The registry of a server, by its API."""

    follows: bool | None = None

    def __init__(self, client: "Client") -> None:
        self._client = client

    def pointers(self, model: str, environment: str) -> Pointers:
        """What the environment points at now."""
        try:
            known = self._client.models.environment(model, environment)
        except NotThere:
            return Pointers()
        current, candidate = known.current_deployment, known.candidate_deployment
        ids = (current.id if current else "", candidate.id if candidate else "")
        return Pointers(*ids, known.previous_deployment_id or "")

    def load_failure(self, model: str, deployment_id: str) -> str:
        """Why the last load of the deployment failed; '' if it did not."""
        return self._client.deployments.get(model, deployment_id).load_failure

    def promote(self, model: str, deployment_id: str, environment: str) -> None:
        """Warms up the deployment, then switches the environment to it."""
        names = {known.name for known in self._client.models.environments(model)}
        if environment not in names and environment not in RESERVED:
            self._client.models.create_environment(model, environment)
        self._client.deployments.promote(model, deployment_id, environment)

    def rollback(self, model: str, environment: str) -> None:
        """Switches the environment back, or cancels its promotion."""
        self._client.deployments.rollback(model, environment)

    def set_active(self, deployment_id: str, active: bool) -> tuple[str, bool]:
        """Activates or deactivates a deployment. Returns the name of its model, and whether that changed anything. Raises NotFound."""
        for model in self._client.models.list():
            if deployment_id in (known.id for known in self._client.deployments.list(model.name)):
                act = (
                    self._client.deployments.activate
                    if active
                    else self._client.deployments.deactivate
                )
                return model.name, act(model.name, deployment_id)
        raise NotFound(f"There is no deployment {deployment_id}.")

    def queued(self, model: str, deployment_id: str) -> int:
        """How many requests wait."""
        return self._client.queue(model, deployment=deployment_id).num_queued_requests


def promote(
    model: Model,
    deployment_id: DeploymentId,
    environment: EnvironmentName = "production",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Warms up a deployment, then switches an environment to it. One whose last load failed needs --force."""
    known = _registry()
    _confirm_failed_load(known, model, deployment_id, environment, force)
    switch(known, model, deployment_id, environment, as_json)


def rollback(
    model: Model,
    environment: EnvironmentName = "production",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Switches an environment back to its previous deployment. One whose last load failed needs --force."""
    known = _registry()
    pointers = known.pointers(model, environment)
    if pointers.previous and not pointers.candidate:  # else it only cancels a promotion
        _confirm_failed_load(known, model, pointers.previous, environment, force)
    _change_and_say(known, model, environment, partial(known.rollback, model, environment), as_json)


def activate(deployment_id: DeploymentId, as_json: AsJson = False) -> None:
    """Lets a deployment run again after `deactivate` or failed loads."""
    _set_active(deployment_id, True, as_json)


def deactivate(deployment_id: DeploymentId, as_json: AsJson = False) -> None:
    """Stops a deployment's replicas. Its queued requests wait."""
    _set_active(deployment_id, False, as_json)


def switch(
    known: Registry, model: str, deployment_id: str, environment: str, as_json: bool = False
) -> None:
    """Promotes a deployment and says what becomes of the environment and of requests that wait."""
    promote = partial(known.promote, model, deployment_id, environment)
    _change_and_say(known, model, environment, promote, as_json)


def _confirm_failed_load(
    known: Registry, model: str, deployment_id: str, environment: str, force: bool
) -> None:
    """Asks whether to go on if the last load of the deployment failed. Raises LoadFailed if there is no terminal to ask at, Exit for a no."""
    if not (why := known.load_failure(model, deployment_id)):
        return
    failed = f"The last load of {deployment_id} failed: {printable(why.rstrip('.'))}"
    then = f"it is loaded again, and {environment} switches to it only when it is ready"
    if force:
        typer.echo(f"{failed}; {then}.", err=True)
    elif not sys.stdin.isatty():
        raise LoadFailed(f"{failed}; with --force {then}.")
    elif not typer.confirm(f"{failed}. Shall {environment} switch to it when a load succeeds?"):
        raise typer.Exit(1)


def _registry() -> Registry:
    if client := chosen_client():
        return RegistryOnServer(client)
    from cli.local.promoting import RegistryOnStore
    from cli.running import current_settings

    return RegistryOnStore(current_settings())


def _set_active(deployment_id: str, active: bool, as_json: bool) -> None:
    name, changed = _registry().set_active(deployment_id, active)
    state = "active" if active else "inactive"
    said = f"{deployment_id} of {name} is {state}{'' if changed else ' already'}."
    say(as_json, said, model=name, deployment_id=deployment_id, active=active, changed=changed)


def _change_and_say(
    known: Registry, model: str, environment: str, change: Callable[[], None], as_json: bool
) -> None:
    """Calls `change` and says what the environment points at afterwards."""
    before = known.pointers(model, environment)
    change()
    after = known.pointers(model, environment)
    if as_json:
        pointers = {name: value or None for name, value in vars(after).items()}
        print(json.dumps({"model": model, "environment": environment, **pointers}))
    elif after.candidate:
        print(f"{environment} switches to {after.candidate} as soon as a replica is ready.")
        if before.current:
            _say_queued(known, model, before.current, after.candidate)
    elif before.candidate and after.current == before.current:
        kept = f"{environment} stays at {after.current}"
        print(f"The promotion of {before.candidate} is canceled; {kept}.")
    else:
        word = "already" if after == before else "now"
        print(f"{environment} points at {after.current} {word}.")


def _say_queued(known: Registry, model: str, old: str, new: str) -> None:
    """Says what becomes of the queued requests of `old`, the deployment that an environment leaves for `new`."""
    if not (queued := known.queued(model, old)):
        return
    requests = "1 queued request" if queued == 1 else f"{queued} queued requests"
    if known.follows:
        print(f"{requests} of {old} will move to {new}.")
        return
    if known.follows is None:
        print(f"{requests} of {old} will move to {new} if the server has KINGPOST_QUEUED_FOLLOW_ENVIRONMENT=1, else stay.")  # fmt: skip
        return
    print(f"{requests} will stay with {old}, and expire if {old} does not run them in time.")
    move = f"kingpost jobs move --deployment {old} --status QUEUED --to-deployment {new} --yes"
    print(f"To move them: {move}")
    print("A stack with KINGPOST_QUEUED_FOLLOW_ENVIRONMENT=1 moves them at each promotion.")

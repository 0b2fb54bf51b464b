"""The verbs of the registry and the directory. Each builds the call of one script and reads its reply; none has side effects.

The store of tasks/store runs them like the verbs of jobs: `store.run(registry.push(...))` in a worker or a command,
`await store.run(registry.push(...))` in the API.
"""

import json
import re
import secrets
import string
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from deployments.registry import keys as registry_keys
from deployments.registry import records
from deployments.registry.autoscaling import Autoscaling
from deployments.registry.records import (
    Deployment,
    Environment,
    Kind,
    Load,
    Model,
    Replica,
    Seat,
)
from tasks.errors import KingpostError, NotFound
from tasks.settings import Settings
from tasks.store import keys
from tasks.store.records import Reply, items, number, text
from tasks.store.scripting import WHOLE, Library
from tasks.store.verbs import Argument, ScriptCall

T = TypeVar("T")

ALPHABET = string.ascii_lowercase + string.digits
FOLLOW_BATCH = 500  # jobs that one script moves
# docs.baseten.co, regional environments: no hyphen at either end
ENVIRONMENT_NAME = r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"
LONGEST_FAILURE = 16_000  # characters that are kept of why a load failed
# Addresses, ids and times in an error: failures that differ in them alone have the same cause.
NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\d+")
DEMAND_MS = 15_000  # how long one call that waits for a replica keeps it wanted


class EnvironmentRefused(KingpostError):
    """This environment cannot be made or promoted to."""


class NameTaken(KingpostError):
    """A model, chain or chainlet of another kind has that name."""


class NotOnItsOwn(KingpostError):
    """The chainlet runs in the process of another one."""


def _prelude(_: Settings) -> str:
    return keys.lua() + registry_keys.lua() + WHOLE


SCRIPTS = Library(Path(__file__).parent / "scripts", _prelude)


def _call(script: str, arguments: Sequence[Argument], read: Callable[[Reply], T]) -> ScriptCall[T]:
    return ScriptCall(script, arguments, read, SCRIPTS)


def _says(word: str) -> Callable[[Reply], bool]:
    """A reader that tells whether the reply is that word."""
    return lambda reply: text(reply) == word


def _texts(reply: Reply) -> list[str]:
    return [text(word) for word in items(reply)]


def check_environment_name(name: str) -> None:
    """Raises EnvironmentRefused for an invalid name."""
    if not re.fullmatch(ENVIRONMENT_NAME, name):
        message = f"An environment's name has 1 to 40 lowercase letters, digits and hyphens, not {name!r}."
        raise EnvironmentRefused(message)


def check_promotable(environment: str) -> None:
    """Raises EnvironmentRefused for an environment that no deployment can be promoted to."""
    if environment == "development":
        raise EnvironmentRefused("The environment development follows a folder: kingpost watch.")
    check_environment_name(environment)


def _new_id() -> str:
    """A new id: 8 lowercase alphanumerics, by which clients recognise a model id."""
    return "".join(secrets.choice(ALPHABET) for _ in range(8))


# What is deployed


def register(
    name: str,
    package: str,
    content_hash: str,
    slots: int,
    kind: Kind = "model",
    gpus: int = 0,
    gpu_memory: int = 0,
    leader: str = "",
    warnings: Sequence[str] = (),
    served_names: Sequence[str] = (),
    fixed_port: int = 0,
) -> ScriptCall[Deployment]:
    """Creates or updates the deployment that follows a model folder."""
    chainlet = int(kind == "chainlet")
    arguments = [name, kind, slots, package, content_hash, _new_id(), _new_id()]
    arguments += [gpus, gpu_memory, chainlet, leader, json.dumps(warnings)]
    arguments += [json.dumps(served_names), fixed_port]
    return _call("register", arguments, lambda reply: _read_deployment(items(reply)))


def push(
    name: str,
    content_hash: str,
    slots: int,
    gpus: int = 0,
    gpu_memory: int = 0,
    warnings: Sequence[str] = (),
    kind: Kind = "model",
    served_names: Sequence[str] = (),
    fixed_port: int = 0,
) -> ScriptCall[Deployment]:
    """Creates an immutable deployment of a stored package. The same content is the same deployment.

    Reading the reply raises NameTaken.
    """

    def read(reply: Reply) -> Deployment:
        word, *rest = items(reply)
        if text(word) == "other":
            raise NameTaken(f"There is a {text(rest[0])} with the name {name}; use another name.")
        return _read_deployment(rest)

    arguments = [name, slots, content_hash, _new_id(), _new_id()]
    arguments += [gpus, gpu_memory, json.dumps(warnings), kind]
    arguments += [json.dumps(served_names), fixed_port]
    return _call("push", arguments, read)


def link_chainlets(deployment_id: str, chainlets: Mapping[str, str]) -> ScriptCall[str]:
    """Records the deployments of the chainlets that a chain's deployment calls, by their display names."""
    pairs = [part for pair in chainlets.items() for part in pair]
    return _call("link_chainlets", [deployment_id, *pairs], text)


def chainlets_of(deployment_id: str) -> ScriptCall[dict[str, str]]:
    """What `link_chainlets` recorded; empty for a model, and for a chain that follows a folder."""
    return _call("chainlets_of", [deployment_id], records.texts)


def _read_deployment(row: list[Reply]) -> Deployment:
    deployment_id, flat = row
    return records.deployment(text(deployment_id), flat)


def alias(name: str, model_id: str) -> ScriptCall[str]:
    """Adds another name for a chain, which counts as long as no model and no other chain has it."""
    return _call("alias", [name, model_id], text)


def deployment(deployment_id: str) -> ScriptCall[Deployment]:
    """The deployment of that id. Reading the reply raises NotFound."""
    return _call(
        "deployments", [deployment_id], lambda reply: _read_deployment(items(items(reply)[0]))
    )


def revision() -> ScriptCall[int]:
    """A number that grows with each change of how models, deployments and environments are shown. Replicas and loads do not count."""
    return _call("revision", [], number)


def deployment_ids() -> ScriptCall[list[str]]:
    """The ids of all deployments."""
    return _call("deployment_ids", [], _texts)


def deployments(ids: Sequence[str] = ()) -> ScriptCall[list[Deployment]]:
    """These deployments, or every one, oldest first. Loops read them in pages: see `pages.all_deployments`."""
    return _call("deployments", ids, records.deployments)


def model(reference: str) -> ScriptCall[Model]:
    """The model of that id or name. Reading the reply raises NotFound."""
    return _call("model", [reference], lambda reply: records.model(reference, reply))


def models(ids: Sequence[str] = ()) -> ScriptCall[list[Model]]:
    """These models and chains, or every one, by name. One that does not exist is left out."""

    def read(reply: Reply) -> list[Model]:
        rows = [items(row) for row in items(reply)]
        found = [records.model(text(row[0]), row) for row in rows if row[1]]
        return sorted(found, key=lambda known: (known.name, known.id))

    return _call("models", ids, read)


def model_ids() -> ScriptCall[dict[str, str]]:
    """Maps the name of every model and chain to its id."""
    return _call("model_ids", [], records.texts)


def environments(model_id: str) -> ScriptCall[dict[str, Environment]]:
    """The environments of one model, by name."""
    return _call("environments", [model_id], records.environments)


def resolve(
    reference: str | None, environment: str, deployment_id: str | None = None
) -> ScriptCall[Deployment]:
    """The deployment that a request is for. `reference` is the id or name of a model; None means the only model.

    Reading the reply raises NotFound with a sentence for the caller.
    """
    by_id = deployment_id is not None
    arguments = ["deployment" if by_id else "environment", deployment_id if by_id else environment]
    arguments += [] if reference is None else [reference]
    return _call("resolve", arguments, lambda reply: _read_resolved(reference, environment, reply))


def _read_resolved(reference: str | None, environment: str, reply: Reply) -> Deployment:
    word, *rest = items(reply)
    match text(word):
        case "found":
            model_id, deployment_id, flat = rest
            found = records.deployment(text(deployment_id), flat)
            if found.model_id != text(model_id):
                raise NotFound(f"This model has no deployment {found.id}.")
            return found
        case "which":
            known = ", ".join(sorted(_texts(rest[0]))) or "none"
            raise NotFound(f"Say which model: /models/NAME/... (deployed: {known}).")
        case "several":
            entrypoint = f"Several chains have an entrypoint {reference!r}"
            raise NotFound(f"{entrypoint}: say the chain's name.")
        case "no_environment":
            raise NotFound(f"This model has no environment {environment!r}.")
        case "nothing_deployed":
            raise NotFound(f"This model has nothing deployed to {environment!r}.")
        case _:
            raise NotFound(records.no_model(reference or ""))


def knows(reference: str) -> ScriptCall[bool]:
    """Whether there is a model or a chainlet of that id or name."""
    return _call("knows", [reference], _says("found"))


# Environments, and what may run


def promote(target: Deployment, environment: str = "production") -> ScriptCall[str]:
    """Lets a deployment take over an environment once it is warm: 'switched', 'warming' or 'unchanged'.

    Raises EnvironmentRefused.
    """
    check_promotable(environment)
    return _call("promote", [target.model_id, environment, target.id], text)


def draft(target: Deployment) -> ScriptCall[str]:
    """Lets an immutable deployment take over `development` once it is warm: 'switched', 'warming' or 'unchanged'."""
    return _call("promote", [target.model_id, "development", target.id], text)


def switch(model_id: str, environment: str, deployment_id: str) -> ScriptCall[bool]:
    """Points an environment at its candidate. False if that is no longer its candidate."""
    return _call("switch", [model_id, environment, deployment_id], _says("switched"))


def create_environment(model_id: str, environment: str) -> ScriptCall[bool]:
    """Creates an environment that points at nothing yet. False if it exists already. Raises EnvironmentRefused."""
    check_environment_name(environment)
    return _call("create_environment", [model_id, environment], _says("created"))


def drop_environment(model_id: str, environment: str) -> ScriptCall[None]:
    """Deletes an environment. Reading the reply raises NotFound."""

    def read(reply: Reply) -> None:
        if text(reply) == "missing":
            raise NotFound(f"This model has no environment {environment!r}.")

    return _call("drop_environment", [model_id, environment], read)


def activate(deployment_id: str, active: bool = True) -> ScriptCall[bool]:
    """Activates or deactivates a deployment. The reply says whether that changed anything. Reading it raises NotFound."""

    def read(reply: Reply) -> bool:
        if text(reply) == "missing":
            raise NotFound(f"There is no deployment {deployment_id}.")
        return text(reply) == "changed"

    return _call("activate", [deployment_id, int(active)], read)


def configure(deployment_id: str, settings: Autoscaling) -> ScriptCall[bool]:
    """Changes the autoscaling settings. The reply says whether that changed anything."""
    pairs = [part for pair in asdict(settings).items() for part in pair]
    return _call("configure", [deployment_id, *pairs], _says("changed"))


def check_on_its_own(chainlet: Deployment) -> ScriptCall[None]:
    """Checks that no other chainlet leads the process, because all of one process start, sleep and scale together.

    Reading the reply raises NotOnItsOwn.
    """

    def read(reply: Reply) -> None:
        if leader := text(reply):
            message = (
                f"{chainlet.model_name} runs in the process of {leader}; use {leader} instead."
            )
            raise NotOnItsOwn(message)

    return _call("leader", [chainlet.id], read)


def fail_load(
    deployment_id: str, why: str, settings: Settings, counted: bool = True
) -> ScriptCall[bool]:
    """Records a failed load. The last line of `why` is the error. The reply says whether the deployment has given up.

    With `counted` false, this failure is not one after which it gives up.
    """
    why = why.rstrip()[-LONGEST_FAILURE:] or "no reason was given"
    cause = NUMBERS.sub("0", why.splitlines()[-1])
    most = settings.load_failures if counted else sys.maxsize
    arguments = [deployment_id, why, cause, most, int(settings.load_rest_seconds * 1000)]
    return _call("fail_load", arguments, _says("gave_up"))


def forgive(*deployment_ids: str) -> ScriptCall[str]:
    """Lets deployments that gave up load again, because something changed or a user asked for it."""
    return _call("forgive", deployment_ids, text)


def retry(deployment_id: str) -> ScriptCall[str]:
    """Forgets why a deployment failed and starts it without work, so that it shows at once whether it loads."""
    return _call("retry", [deployment_id], text)


def reload(deployment_id: str) -> ScriptCall[str]:
    """Tells its replicas that the folder they follow has changed."""
    return _call("reload", [deployment_id], text)


def follow(old: str, new: str) -> ScriptCall[int]:
    """Moves a batch of queued jobs to another deployment, in their order. The reply is their number, 0 if none is left."""
    return _call("follow", [old, new, FOLLOW_BATCH], number)


def demand(deployment_id: str, milliseconds: int = DEMAND_MS) -> ScriptCall[str]:
    """Keeps a replica wanted for that time, because a call waits for it."""
    return _call("demand", [deployment_id, milliseconds], text)


# How many replicas, and who may run one


def lead(who: str, milliseconds: int) -> ScriptCall[bool]:
    """Makes `who` the leading autoscaler for that time. False if another one leads."""
    return _call("lead", [who, milliseconds], _says("leads"))


def loads(deployment_ids: Sequence[str]) -> ScriptCall[list[Load]]:
    """The numbers of waiting and running jobs, in the order of the ids."""
    return _call("loads", deployment_ids, lambda reply: [records.load(row) for row in items(reply)])


def scale(
    deployment_id: str, wanted: int, load: float, has_work: bool, states: set[str]
) -> ScriptCall[str]:
    """Records how many replicas a deployment should have. `states` are the states of its replicas."""
    flags = (has_work, bool(states - {"draining"}), "ready" in states)
    return _call("scale", [deployment_id, wanted, load, *map(int, flags)], text)


def needy() -> ScriptCall[list[str]]:
    """The deployments with work and no replica, the longest waiting first."""
    return _call("needy", [], _texts)


def take_seat(seat: Seat, milliseconds: int) -> ScriptCall[bool]:
    """Takes a seat, the right to run a replica. False if enough replicas run."""
    return _call("take_seat", [seat.deployment_id, seat.replica_id, milliseconds], _says("taken"))


def hold_seats(seats: Sequence[Seat], milliseconds: int) -> ScriptCall[list[str]]:
    """Renews seats. For each the reply has 'held', 'surplus' (more than are wanted) or 'lost' (lapsed, and none is free)."""
    parts = [part for seat in seats for part in (seat.deployment_id, seat.replica_id)]
    return _call("hold_seats", [milliseconds, *parts], _texts)


def leave_seat(seat: Seat, makes_room: bool = False) -> ScriptCall[str]:
    """Gives a seat up. With `makes_room`, it counts that the replica made room for another deployment."""
    return _call("leave_seat", [seat.deployment_id, seat.replica_id, int(makes_room)], text)


def switches() -> ScriptCall[int]:
    """The number of times that a replica made room for another deployment."""
    return _call("switches", [], number)


# The directory: the live replicas


def report(replica: Replica, milliseconds: int, token: str = "") -> ScriptCall[str]:
    """Writes the entry of a replica and the token of its gate, which expire after that time: 'changed' or 'unchanged'."""
    entry = json.dumps(asdict(replica))
    return _call("report", [replica.id, entry, milliseconds, replica.token_ref or "", token], text)


def remove(replica_id: str, token_ref: str | None = None) -> ScriptCall[str]:
    """Removes the entry of a replica and the token of its gate."""
    return _call("remove", [replica_id, token_ref or ""], text)


def replicas(ids: Sequence[str] = ()) -> ScriptCall[list[Replica]]:
    """Those of these replicas, or of all, that have not expired."""
    return _call("replicas", ids, records.replicas)


def tokens(refs: Sequence[str]) -> ScriptCall[dict[str, str]]:
    """The tokens of gates by their references, without those that have expired."""

    def read(reply: Reply) -> dict[str, str]:
        pairs = zip(refs, items(reply), strict=True)
        return {ref: text(token) for ref, token in pairs if token is not None}

    return _call("tokens", refs, read)

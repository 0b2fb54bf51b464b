"""From the registry's hashes to its types: the only place that knows the fields."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from deployments.registry.autoscaling import Autoscaling
from tasks.errors import NotFound
from tasks.process.loops import Guard

DEFAULTS = Autoscaling()
_reading = Guard("deployment's record")
Kind = Literal["model", "chain", "chainlet"]


@dataclass(frozen=True)
class Deployment:
    """One deployment of a model; times in Unix milliseconds.

    `package` is the folder that it follows; '' for an immutable one, whose package is stored under its content hash.
    """

    id: str
    model_id: str
    model_name: str
    kind: Kind
    slots: int
    package: str
    content_hash: str
    created: int
    gpus: int = 0  # devices that a replica needs
    gpu_memory: int = 0  # bytes; a model that needs less than a device may share it; 0 = all of it
    active: bool = True
    wanted: int = 1  # replicas
    load: float = 0  # calls in flight and waiting, as the autoscaler saw them last
    used: int = 0  # when it last had work
    retired: bool = False  # an environment has left it
    failure: str = ""  # why it could not be loaded: frames, then a sentence in the last line
    gave_up: bool = False  # failed so often that it is not tried again for now
    served: bool = False  # a replica of it has been ready
    autoscaling: Autoscaling = DEFAULTS
    warnings: tuple[str, ...] = ()  # what of its config.yaml is not honoured here
    leader: str = ""  # the deployment whose replicas serve this one, too: both share a process


@dataclass(frozen=True)
class Environment:
    """A name that points at a deployment; `candidate` is being warmed to take its place."""

    name: str
    deployment_id: str
    candidate: str | None = None
    previous: str | None = None
    created: int = 0


@dataclass(frozen=True)
class Model:
    """A model with its environments; chains are models, too."""

    id: str
    name: str
    kind: Kind
    created: int
    environments: Mapping[str, Environment]


def texts(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    """A HGETALL reply as text."""
    return {name.decode(): value.decode() for name, value in fields.items()}


def deployment(deployment_id: str, fields: Mapping[bytes, bytes]) -> Deployment:
    """The deployment of a HGETALL reply. Raises NotFound for an empty one."""
    if not fields:
        raise NotFound(f"There is no deployment {deployment_id}.")
    f = texts(fields)
    return Deployment(
        id=deployment_id,
        model_id=f["model_id"],
        model_name=f["model_name"],
        kind=cast(Kind, f["kind"]),
        slots=int(f["slots"]),
        package=f["package"],
        content_hash=f["content_hash"],
        created=int(f["created"]),
        gpus=int(f.get("gpus", 0)),
        gpu_memory=int(f.get("gpu_memory", 0)),
        retired="retired" in f,
        failure=f.get("failure", ""),
        gave_up="gave_up" in f,
        active=f.get("active", "1") == "1",
        wanted=int(f.get("wanted", 1)),
        load=float(f.get("load", 0)),
        used=int(f.get("used", 0)),
        served="served" in f,
        autoscaling=Autoscaling.of(f),
        leader=f.get("leader", ""),
        warnings=tuple(json.loads(f.get("warnings", "[]"))),
    )


def deployments(rows: Iterable[tuple[str, Mapping[bytes, bytes]]]) -> list[Deployment]:
    """Those of (id, HGETALL reply) that can be read: one that is damaged must not hide the others."""
    found: list[Deployment] = []
    for deployment_id, fields in rows:
        if not fields:
            continue
        with _reading.part():
            found.append(deployment(deployment_id, fields))
    return found


def no_model(reference: str) -> str:
    """What to say of a model that does not exist."""
    return f"There is no model {reference!r}: `kingpost models` and GET /v1/models say which there are."

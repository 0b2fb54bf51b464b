"""The types of the registry and the directory, and how they are read from Redis' replies. Only this module knows the fields."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, cast

from deployments.registry.autoscaling import Autoscaling
from tasks.errors import NotFound
from tasks.process.loops import Guard
from tasks.store.records import Reply, items, number, text

DEFAULTS = Autoscaling()
_reading = Guard("deployment's record")
_reading_entry = Guard("replica's entry")
Kind = Literal["model", "chain", "chainlet"]
ReplicaState = Literal["building", "loading", "ready", "unhealthy", "failed", "draining"]


@dataclass(frozen=True)
class Deployment:
    """One deployment of a model. Times are Unix milliseconds.

    `package` is the folder that it follows. It is '' for an immutable deployment, whose package is stored under its content hash.
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
    warnings: tuple[str, ...] = ()  # about keys of its config.yaml that are not honoured
    leader: str = ""  # the deployment whose replicas serve this one, too: both share a process
    served_names: tuple[str, ...] = ()  # other names for `model` on /v1; the model hears the first
    fixed_port: int = 0  # of a custom server whose command names its port; 0 = any port


@dataclass(frozen=True)
class Environment:
    """An environment: a name that points at a deployment. `candidate` is warmed up to take its place."""

    name: str
    deployment_id: str
    candidate: str | None = None
    previous: str | None = None
    created: int = 0


@dataclass(frozen=True)
class Model:
    """A model with its environments. Chains are models, too."""

    id: str
    name: str
    kind: Kind
    created: int
    environments: Mapping[str, Environment]


@dataclass(frozen=True)
class Seat:
    """The right to run one replica of a deployment."""

    deployment_id: str
    replica_id: str


@dataclass(frozen=True)
class Load:
    """The numbers of waiting and running jobs of a deployment."""

    queued: int
    running: int
    demanded: bool  # somebody waits for a replica


@dataclass(frozen=True)
class Replica:
    """One replica as it last reported itself. `address` is the Unix socket of its model host.

    The last line of `error` is the error. The lines before it are the frames, or the output of the installer.
    """

    id: str
    deployment_id: str
    model_name: str
    state: ReplicaState
    error: str | None
    address: str
    slots: int
    busy: int
    pid: int
    host_pid: int | None
    served: int = 0  # calls and jobs since the host started
    note: str | None = None  # what it does meanwhile, such as the last line of an installer
    machine: str = ""  # where the Unix socket is
    tcp: str | None = None  # HOST:PORT of the host's gate for other machines
    token_ref: str | None = None  # of the token that the gate asks for
    host_ends: int = 0  # how many hosts that were ready have ended, and another one followed
    load_began: int | None = None  # ms, Unix time by its machine's clock, while its model loads

    @property
    def loading_seconds(self) -> float | None:
        """For how long its model has been loading; None if it does not load."""
        return None if self.load_began is None else max(time.time() - self.load_began / 1000, 0.0)


REPLICA_FIELDS = frozenset(field.name for field in fields(Replica))


def texts(flat: Reply) -> dict[str, str]:
    """A flat HGETALL reply as text."""
    words = [text(word) for word in items(flat)]
    return dict(zip(words[::2], words[1::2], strict=True))


def deployment(deployment_id: str, flat: Reply) -> Deployment:
    """The deployment of a flat HGETALL reply. Raises NotFound for an empty one."""
    f = texts(flat)
    if not f:
        raise NotFound(f"There is no deployment {deployment_id}.")
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
        served_names=tuple(json.loads(f.get("served_names", "[]"))),
        fixed_port=int(f.get("fixed_port", 0)),
    )


def deployments(reply: Reply) -> list[Deployment]:
    """The deployments, oldest first. A damaged record is skipped, so that it does not hide the others."""
    found: list[Deployment] = []
    for row in items(reply):
        deployment_id, flat = items(row)
        if not flat:
            continue
        with _reading.part():
            found.append(deployment(text(deployment_id), flat))
    return sorted(found, key=lambda known: (known.created, known.id))


def model(reference: str, reply: Reply) -> Model:
    """The model of a reply. Raises NotFound if the reply is empty."""
    model_id, flat, rows = items(reply)
    f = texts(flat)
    if not f:
        raise NotFound(no_model(reference))
    return Model(
        id=text(model_id),
        name=f["name"],
        kind=cast(Kind, f["kind"]),
        created=int(f.get("created", 0)),
        environments=environments(rows),
    )


def environments(reply: Reply) -> dict[str, Environment]:
    """The environments of one model, by name."""
    found: dict[str, Environment] = {}
    for row in items(reply):
        name, deployment_id, flat = items(row)
        f = texts(flat)
        candidate, previous, created = f.get("candidate"), f.get("previous"), f.get("created", 0)
        found[text(name)] = Environment(
            text(name), text(deployment_id), candidate, previous, int(created)
        )
    return dict(sorted(found.items()))


def load(reply: Reply) -> Load:
    """The load of one deployment."""
    queued, running, demanded = items(reply)
    return Load(number(queued), number(running), number(demanded) == 1)


def replicas(reply: Reply) -> list[Replica]:
    """The replicas. Entries that cannot be read are skipped, because replicas of another release may have other fields."""
    found: list[Replica] = []
    for entry in filter(None, items(reply)):
        with _reading_entry.part():
            said: dict[str, Any] = json.loads(cast(bytes, entry))
            known = {name: value for name, value in said.items() if name in REPLICA_FIELDS}
            found.append(Replica(**known))
    return found


def no_model(reference: str) -> str:
    """The error for a model that does not exist."""
    return f"There is no model {reference!r}: `kingpost models` and GET /v1/models say which there are."

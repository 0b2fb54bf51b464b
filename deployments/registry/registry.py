"""Models, their deployments, and the environments that point at them: for commands, nodes and the autoscaler."""

import json
import re
import secrets
import string
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import cast

import redis

from deployments.registry import keys as registry_keys
from deployments.registry import records
from deployments.registry.autoscaling import Autoscaling
from deployments.registry.records import Deployment, Environment, Kind, Model
from deployments.registry.scripting import Argument, run
from tasks.errors import KingpostError, NotFound
from tasks.settings import Settings
from tasks.store.job_store import connect, unavailable
from tasks.store.records import Reply, items, number, text

__all__ = ["Deployment", "Environment", "Kind", "Load", "Model", "Registry", "Seat"]

ALPHABET = string.ascii_lowercase + string.digits
FOLLOW_BATCH = 500  # jobs that one script moves
# docs.baseten.co, regional environments: no hyphen at either end
ENVIRONMENT_NAME = r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"
LONGEST_FAILURE = 16_000  # characters that are kept of why a load failed
NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\d+")  # addresses, ids and times do not make another cause
DEMAND_MS = 15_000  # how long one call that waits for a replica keeps it wanted


@dataclass(frozen=True)
class Seat:
    """The right to run one replica of a deployment."""

    deployment_id: str
    replica_id: str


@dataclass(frozen=True)
class Load:
    """What waits for a deployment and runs on it, as the store has it."""

    queued: int
    running: int
    demanded: bool  # somebody waits for a replica


class EnvironmentRefused(KingpostError):
    """This environment cannot be made or promoted to."""


class NotOnItsOwn(KingpostError):
    """The chainlet runs in the process of another one."""


def check_environment_name(name: str) -> None:
    """Raises EnvironmentRefused."""
    if not re.fullmatch(ENVIRONMENT_NAME, name):
        message = f"An environment's name has 1 to 40 lowercase letters, digits and hyphens, not {name!r}."
        raise EnvironmentRefused(message)


def new_id() -> str:
    """8 lowercase alphanumerics, as clients recognise a model id."""
    return "".join(secrets.choice(ALPHABET) for _ in range(8))


class Registry:
    """Every change is one script. Methods raise StoreUnavailable, and NotFound for ids that do not exist."""

    def __init__(self, settings: Settings) -> None:
        self._redis: redis.Redis = connect(settings)
        self._load_failures = settings.load_failures
        self._rest_ms = int(settings.load_rest_seconds * 1000)

    def register(
        self,
        name: str,
        package: str,
        content_hash: str,
        slots: int,
        kind: Kind = "model",
        gpus: int = 0,
        gpu_memory: int = 0,
        leader: str = "",
        warnings: Sequence[str] = (),
    ) -> Deployment:
        """Makes or updates the deployment that follows a model folder."""
        chainlet = int(kind == "chainlet")
        ids = (new_id(), new_id())
        needs = (gpus, gpu_memory)
        last = (chainlet, leader, json.dumps(warnings))
        arguments = (name, kind, slots, package, content_hash, *ids, *needs, *last)
        return self.deployment(text(self._run("register", *arguments)))

    def push(
        self,
        name: str,
        content_hash: str,
        slots: int,
        gpus: int = 0,
        gpu_memory: int = 0,
        warnings: Sequence[str] = (),
    ) -> Deployment:
        """An immutable deployment of a stored package; the same content is the same deployment."""
        needs = (gpus, gpu_memory, json.dumps(warnings))
        arguments = (name, slots, content_hash, new_id(), new_id(), *needs)
        _, deployment_id = items(self._run("push", *arguments))
        return self.deployment(text(deployment_id))

    def alias(self, name: str, model_id: str) -> None:
        """Lets a chain be asked for by this name, too, while no model and no other chain has it."""
        with unavailable():
            self._redis.sadd(registry_keys.keyed("alias", name), model_id)

    def promote(self, deployment: Deployment, environment: str = "production") -> str:
        """Warms a deployment to take over an environment: 'switched', 'warming' or 'unchanged'.

        Raises EnvironmentRefused.
        """
        if environment == "development":
            raise EnvironmentRefused(
                "The environment development follows a folder: kingpost watch."
            )
        check_environment_name(environment)
        arguments = (deployment.model_id, environment, deployment.id)
        return text(self._run("promote", *arguments))

    def switch(self, model_id: str, environment: str, deployment_id: str) -> bool:
        """Points an environment at its candidate; False when it is not that any more."""
        return text(self._run("switch", model_id, environment, deployment_id)) == "switched"

    def activate(self, deployment_id: str, active: bool = True) -> bool:
        """Lets a deployment run or not; whether that changed anything."""
        word = text(self._run("activate", deployment_id, int(active)))
        if word == "missing":
            raise NotFound(f"There is no deployment {deployment_id}.")
        return word == "changed"

    def check_on_its_own(self, deployment: Deployment) -> None:
        """Raises NotOnItsOwn for a chainlet whose process another one leads: the two start, rest and scale as one."""
        if deployment.leader:
            name = self.deployment(deployment.leader).model_name
            message = f"{deployment.model_name} runs in the process of {name}: say it of {name}."
            raise NotOnItsOwn(message)

    def fail_load(self, deployment_id: str, why: str, counted: bool = True) -> bool:
        """Notes that a load failed; whether the deployment has given up. The last line of `why` is its sentence."""
        why = why.rstrip()[-LONGEST_FAILURE:] or "no reason was given"
        cause = NUMBERS.sub("0", why.splitlines()[-1])
        most = self._load_failures if counted else sys.maxsize
        arguments = (deployment_id, why, cause, most, self._rest_ms)
        return text(self._run("fail_load", *arguments)) == "gave_up"

    def forgive(self, *deployment_ids: str) -> None:
        """Something has changed: those that gave up are loaded again."""
        self._run("forgive", *deployment_ids)

    def configure(self, deployment_id: str, settings: Autoscaling) -> bool:
        """Sets its autoscaling; whether that changed anything."""
        pairs = [part for pair in asdict(settings).items() for part in pair]
        return text(self._run("configure", deployment_id, *pairs)) == "changed"

    def create_environment(self, model_id: str, environment: str) -> bool:
        """A name that points at nothing yet; False when it is there already. Raises EnvironmentRefused."""
        check_environment_name(environment)
        return text(self._run("create_environment", model_id, environment)) == "created"

    def retry(self, deployment_id: str) -> None:
        """Forgets why it failed; it is loaded again."""
        self.forgive(deployment_id)
        with unavailable():
            self._redis.hdel(registry_keys.keyed("deployment", deployment_id), "served")

    def follow(self, old: str, new: str) -> int:
        """Moves queued jobs to another deployment, in their order; how many."""
        total = 0
        while moved := number(self._run("follow", old, new, FOLLOW_BATCH)):
            total += moved
        return total

    def reload(self, deployment_id: str) -> None:
        """Tells its replicas that the folder they follow has changed."""
        with unavailable():
            self._redis.publish(registry_keys.RELOADS, deployment_id)

    def drop_environment(self, model_id: str, environment: str) -> None:
        """Forgets an environment."""
        if text(self._run("drop_environment", model_id, environment)) == "missing":
            raise NotFound(f"This model has no environment {environment!r}.")

    def demand(self, deployment_id: str, milliseconds: int = DEMAND_MS) -> None:
        """Keeps a replica wanted for a while."""
        with unavailable():
            self._redis.set(registry_keys.keyed("demand", deployment_id), 1, px=milliseconds)

    def deployment(self, deployment_id: str) -> Deployment:
        """The deployment of that id."""
        with unavailable():
            key = registry_keys.keyed("deployment", deployment_id)
            fields = cast("dict[bytes, bytes]", self._redis.hgetall(key))
        return records.deployment(deployment_id, fields)

    def all(self) -> list[Deployment]:
        """Every deployment, oldest first."""
        with unavailable():
            key = registry_keys.plain("deployments")
            ids = sorted(
                raw_id.decode() for raw_id in cast("set[bytes]", self._redis.smembers(key))
            )
            pipe = self._redis.pipeline(transaction=False)
            for deployment_id in ids:
                pipe.hgetall(registry_keys.keyed("deployment", deployment_id))
            rows = pipe.execute()
        found = records.deployments(zip(ids, rows, strict=True))
        return sorted(found, key=lambda deployment: (deployment.created, deployment.id))

    def models(self) -> list[Model]:
        """Every model and chain, by name."""
        with unavailable():
            key = registry_keys.plain("models")
            named = records.texts(cast("dict[bytes, bytes]", self._redis.hgetall(key)))
        return [self.model(model_id) for _, model_id in sorted(named.items())]

    def model(self, reference: str) -> Model:
        """The model of that id or name."""
        with unavailable():
            named = cast("bytes | None", self._redis.hget(registry_keys.plain("models"), reference))
            alias = registry_keys.keyed("alias", reference)
            known = [] if named else list(cast("set[bytes]", self._redis.smembers(alias)))
            model_id = (named or (known[0] if len(known) == 1 else reference.encode())).decode()
            key = registry_keys.keyed("model", model_id)
            f = records.texts(cast("dict[bytes, bytes]", self._redis.hgetall(key)))
            if not f:
                raise NotFound(records.no_model(reference))
            return Model(
                id=model_id,
                name=f["name"],
                kind=cast(Kind, f["kind"]),
                created=int(f.get("created", 0)),
                environments=self.environments(model_id),
            )

    def environments(self, model_id: str) -> dict[str, Environment]:
        """Those of one model, by name."""
        found: dict[str, Environment] = {}
        with unavailable():
            key = registry_keys.keyed("environments", model_id)
            pointers = records.texts(cast("dict[bytes, bytes]", self._redis.hgetall(key)))
            for name, deployment_id in sorted(pointers.items()):
                of_it = registry_keys.keyed("environment", f"{model_id}:{name}")
                f = records.texts(cast("dict[bytes, bytes]", self._redis.hgetall(of_it)))
                created = int(f.get("created", 0))
                found[name] = Environment(
                    name, deployment_id, f.get("candidate"), f.get("previous"), created
                )
        return found

    def needy(self) -> list[str]:
        """Deployments with work and no replica, the one that waits longest first."""
        with unavailable():
            key = registry_keys.plain("needy")
            return [
                raw_id.decode() for raw_id in cast("list[bytes]", self._redis.zrange(key, 0, -1))
            ]

    def loads(self, deployment_ids: list[str]) -> list[Load]:
        """What waits and runs, in the order of the ids."""
        rows = items(self._run("loads", *deployment_ids)) if deployment_ids else []
        return [_load(items(row)) for row in rows]

    def scale(
        self, deployment_id: str, wanted: int, load: float, has_work: bool, states: set[str]
    ) -> None:
        """Notes how many replicas it should have; `states` are those of the ones that it has."""
        flags = (has_work, bool(states - {"draining"}), "ready" in states)
        self._run("scale", deployment_id, wanted, load, *map(int, flags))

    def take_seat(self, seat: Seat, milliseconds: int) -> bool:
        """Takes the right to run a replica; False when enough run."""
        arguments = (seat.deployment_id, seat.replica_id, milliseconds)
        return text(self._run("take_seat", *arguments)) == "taken"

    def hold_seats(self, seats: list[Seat], milliseconds: int) -> list[str]:
        """Holds on to seats: 'held', 'surplus' or 'lost' for each."""
        parts = [part for seat in seats for part in (seat.deployment_id, seat.replica_id)]
        return [text(word) for word in items(self._run("hold_seats", milliseconds, *parts))]

    def leave_seat(self, seat: Seat, makes_room: bool = False) -> None:
        """Gives a seat up; `makes_room` for another deployment is counted."""
        self._run("leave_seat", seat.deployment_id, seat.replica_id, int(makes_room))

    def switches(self) -> int:
        """How often a replica made room for another deployment."""
        with unavailable():
            raw = cast("bytes | None", self._redis.get(registry_keys.plain("switches")))
        return int(raw or 0)

    def lead(self, who: str, milliseconds: int) -> bool:
        """Whether `who` is the one autoscaler for the next while."""
        key = registry_keys.plain("autoscaler")
        with unavailable():
            if self._redis.set(key, who, px=milliseconds, nx=True):
                return True
            if self._redis.get(key) != who.encode():
                return False
            self._redis.pexpire(key, milliseconds)
        return True

    def _run(self, script: str, *arguments: Argument) -> Reply:
        return run(self._redis, script, *arguments)

    def close(self) -> None:
        """Gives the connections back."""
        self._redis.close()


def _load(row: list[Reply]) -> Load:
    queued, running, demanded = row
    return Load(number(queued), number(running), number(demanded) == 1)

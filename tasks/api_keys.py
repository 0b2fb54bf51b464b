"""API keys: `kp_<id>.<secret>`. A key is shown once and stored as SHA-256, which is enough for a random secret."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from tasks.errors import KeyRefused
from tasks.settings import Settings
from tasks.store.keys import plain as plain_key

Scope = Literal["full", "inference", "metrics", "deploy", "admin"]
Need = Literal["inference", "metrics", "deploy", "admin"]  # what a route asks of its caller's key

SCOPES: tuple[Scope, ...] = get_args(Scope)
# The needs that each scope meets. This table alone says who may do what.
GRANTS: dict[Scope, frozenset[Need]] = {
    "inference": frozenset({"inference"}),
    "metrics": frozenset({"metrics"}),
    "deploy": frozenset({"deploy", "inference"}),
    "full": frozenset({"inference", "metrics", "deploy"}),
    "admin": frozenset(get_args(Need)),
}
# The needs that a key may meet even if it is restricted to models or environments.
RESTRICTED: frozenset[Need] = frozenset({"inference", "metrics"})

KEYS = plain_key("api-keys")
RUNNING_LIMITS = plain_key("running_limits")
PREFIX = "kp_"
SHORTEST_PRESET = 16  # characters
LONGEST_DAYS = 36_500.0  # a century; much later times cannot be shown as a date


@dataclass(frozen=True)
class Limits:
    """The limits of a key. None means the limit of the settings, 0 means no limit."""

    submits_per_minute: int | None = None
    status_calls_per_minute: int | None = None
    queue_status_calls_per_minute: int | None = None
    max_unfinished: int | None = None  # requests that are queued or running
    max_running: int | None = None  # requests that run at once on one deployment

    def over(self, settings: Settings) -> "Limits":
        """These limits, with those of the settings where the key has none of its own."""
        defaults = Limits(
            settings.submits_per_minute,
            settings.status_calls_per_minute,
            settings.queue_status_calls_per_minute,
            settings.max_unfinished_per_key,
            settings.max_running_per_key,
        )
        return replace(defaults, **{k: v for k, v in vars(self).items() if v is not None})


def said(limits: Mapping[str, int | None]) -> str:
    """Limits as they are shown: `max_running=2 max_unfinished=default`."""
    return " ".join(f"{name}={'default' if n is None else n}" for name, n in limits.items())


@dataclass(frozen=True)
class ApiKey:
    """One key as it is stored. Empty `models` or `environments` mean all. Times are Unix seconds."""

    id: str
    sha256: str
    name: str
    scope: Scope
    created: float
    models: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    expires: float | None = None
    revoked: bool = False
    limits: Limits = Limits()

    @property
    def restricted(self) -> bool:
        """Whether it is restricted to models or environments."""
        return bool(self.models or self.environments)

    def may(self, need: Need) -> bool:
        """Whether it may call a route with this need."""
        return need in GRANTS[self.scope] and (not self.restricted or need in RESTRICTED)


NO_LIMITS = Limits()


def sees_model_errors(settings: Settings, scope: Scope | None) -> bool:
    """Whether a key with this scope may read the exceptions of models."""
    if settings.model_errors == "owner":
        return scope is not None and "deploy" in GRANTS[scope]  # who may deploy models
    return settings.model_errors == "all"


def check_restrictions(scope: Scope, models: Sequence[str], environments: Sequence[str]) -> None:
    """Raises KeyRefused if a key is restricted to some models, but its scope is about all of them."""
    if scope in ("deploy", "admin") and (models or environments):
        raise KeyRefused(
            f"A key with the scope {scope} may manage every model: create it without models and environments, "
            "or choose the scope inference."
        )


def check_expiry(seconds: float | None) -> None:
    """Raises KeyRefused if a key would never be valid, or for longer than LONGEST_DAYS."""
    if seconds is not None and not 0 < seconds <= LONGEST_DAYS * 86_400:
        raise KeyRefused(
            f"A key expires in more than 0 and at most {LONGEST_DAYS:,.0f} days, or never."
        )


def key_id(plain: str) -> str:
    """The id under which a key is stored. A key of ours contains it; for a preset key it is derived from the hash."""
    head, dot, _ = plain.removeprefix(PREFIX).partition(".")
    if plain.startswith(PREFIX) and dot and len(head) == 8:
        return head
    return hashlib.sha256(b"id:" + plain.encode()).hexdigest()[:8]


def sha256(plain: str) -> str:
    """The hash under which a key is known."""
    return hashlib.sha256(plain.encode()).hexdigest()


def parse(raw: bytes) -> ApiKey:
    """The key as the store has it."""
    fields = json.loads(raw)
    fields |= {name: tuple(fields[name]) for name in ("models", "environments")}
    return ApiKey(**fields | {"limits": Limits(**fields.get("limits", {}))})

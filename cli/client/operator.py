"""What the commands of operators do, by the API of a server or on the store that this machine reaches."""

import contextlib
import functools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

from cli.client.choosing import chosen_client
from cli.client.each import ids_of
from kingpost.errors import Conflict, Forbidden

if TYPE_CHECKING:
    from kingpost import Client
    from kingpost.operating import ApiKey, Webhooks, WebhookSecret
    from kingpost.records import BulkProgress

NO_KEY = "On the machine of the stack, the same command with --state FOLDER needs no key."
P = ParamSpec("P")
T = TypeVar("T")
SECRET_EXISTS = "There is a secret already; `kingpost webhook-secret rotate` makes the next one."


@dataclass(frozen=True)
class NewKey:
    """A key that somebody wants. Without models and environments it is for all of them.

    `expires_in_days` is None for a key that never expires. `limits` has fields of `tasks.api_keys.Limits`; None there is the limit of the settings, and 0 no limit. The fields are the parameters of the client's `keys.create`.
    """

    scope: str
    name: str
    models: Sequence[str]
    environments: Sequence[str]
    expires_in_days: float | None
    limits: Mapping[str, int | None]


class Operator(Protocol):
    """What the commands of operators need: a server by its API, or the store that this machine reaches.

    Methods raise `kingpost.errors.Error` by the API, and `tasks.errors.KingpostError` on the store; a command shows either as its sentence.
    """

    def pause(self, model: str) -> int:
        """Holds a model's queued requests back. Returns how many wait."""
        ...

    def resume(self, model: str) -> int:
        """Lets a model's queued requests run again. Returns how many wait."""
        ...

    def keys(self) -> "Sequence[ApiKey]":
        """Every key, oldest first."""
        ...

    def create_key(self, wish: NewKey) -> str:
        """Makes a key. Returns the key itself."""
        ...

    def limit_key(
        self, identity: str, limits: Mapping[str, int | None]
    ) -> Mapping[str, int | None]:
        """Changes the named limits of a key. None means that of the settings. Returns all of its limits."""
        ...

    def revoke_key(self, identity: str) -> None:
        """Revokes a key for good."""
        ...

    def secrets(self) -> "Sequence[WebhookSecret]":
        """The secrets that sign webhooks now, newest first."""
        ...

    def new_secret(self, first: bool) -> str:
        """Makes a secret and returns it. With `first`, there must be none yet."""
        ...

    def webhooks(self, limit: int) -> "Webhooks":
        """How many webhooks are on their way, how many were given up, and the `limit` that were given up last."""
        ...

    def latest_requests(self, most: int) -> "Sequence[str]":
        """The ids of so many requests at most, the newest first."""
        ...

    def resend(self, request_id: str) -> None:
        """Sends a request's webhook again."""
        ...

    def resend_all(self, dry_run: bool, operation: str) -> "Iterable[BulkProgress]":
        """Sends all webhooks again that were given up before, and says how far it has come, until it is finished.

        With `dry_run` it only counts. An operation of that name that was cut off goes on.
        """
        ...


class OperatorOnServer:
    """By the API of a server. Methods raise the errors of the client."""

    def __init__(self, client: "Client") -> None:
        self.pause, self.resume = _with_hint(client.models.pause), _with_hint(client.models.resume)
        self.keys, self.secrets = _with_hint(client.keys.list), _with_hint(client.webhooks.secrets)
        self.webhooks = _with_hint(client.webhooks.list)
        self.resend = _with_hint(client.webhooks.resend)
        self._resend_all, self._list = client.webhooks.resend_all, client.jobs.list
        self._create, self._revoke = _with_hint(client.keys.create), _with_hint(client.keys.revoke)
        self._limit = _with_hint(client.keys.limit)
        self._new_secret = _with_hint(client.webhooks.new_secret)

    def latest_requests(self, most: int) -> list[str]:
        """The ids of so many requests at most, the newest first."""
        return ids_of(self._list(limit=most))

    def resend_all(self, dry_run: bool, operation: str) -> "Iterator[BulkProgress]":
        """Sends all webhooks again that were given up before, and says how far it has come, until it is finished."""
        with _hinting():
            yield from self._resend_all(dry_run=dry_run, operation=operation)

    def create_key(self, wish: NewKey) -> str:
        """Makes a key. Returns the key itself."""
        return self._create(**vars(wish)).key

    def limit_key(
        self, identity: str, limits: Mapping[str, int | None]
    ) -> Mapping[str, int | None]:
        """Changes the named limits of a key. None means that of the settings. Returns all of its limits."""
        return self._limit(identity, limits).limits

    def revoke_key(self, identity: str) -> None:
        """Revokes a key for good."""
        self._revoke(identity)

    def new_secret(self, first: bool) -> str:
        """Makes a secret and returns it. With `first`, it raises Conflict if there is one already."""
        try:
            return self._new_secret(first=first)
        except Conflict as error:
            raise Conflict(SECRET_EXISTS, error.status, error.code) from None


def _with_hint(call: Callable[P, T]) -> Callable[P, T]:
    """The same call. If the key may not make it, the error also says where no key is needed."""

    @functools.wraps(call)
    def hinting(*args: P.args, **kwargs: P.kwargs) -> T:
        with _hinting():
            return call(*args, **kwargs)

    return hinting


@contextlib.contextmanager
def _hinting() -> Generator[None]:
    try:
        yield
    except Forbidden as error:
        raise Forbidden(f"{error} {NO_KEY}", error.status, error.code) from None


def operator() -> Operator:
    """The operator of the chosen server, or on the store that this machine reaches. Raises NotConfigured, NoStack, StoreUnavailable and SettingsError."""
    if client := chosen_client():
        return OperatorOnServer(client)
    from cli.local.operating import OperatorOnStore
    from cli.running import current_settings

    return OperatorOnStore(current_settings())

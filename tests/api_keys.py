"""API keys for tests, made as an operator makes them."""

from typing import Any

from tasks.access import keys
from tasks.api_keys import ApiKey
from tasks.settings import Settings
from tasks.store.job_store import JobStore


class ApiKeys:
    """The keys of a store."""

    def __init__(self, settings: Settings) -> None:
        self._store = JobStore(settings)

    def create(self, *given: Any, **more: Any) -> str:
        """A new key in plain text."""
        plain = keys.fresh()
        self._store.run(keys.create(plain, *given, **more))
        return plain

    def install(self, plain: str) -> bool:
        """Accepts that key; false for a revoked one."""
        return self._store.run(keys.install(plain))

    def list(self) -> list[ApiKey]:
        """All keys, oldest first."""
        return [use.key for use in self._store.run(keys.known())]

    def revoke(self, identity: str) -> None:
        """Revokes the key with that id."""
        self._store.run(keys.revoke(identity))

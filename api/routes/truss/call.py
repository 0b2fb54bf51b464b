"""One field of a query or mutation, as those who answer it see it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from api.gateway import Gateway, gateway_of
from api.routes.truss.query import QueryError, QueryField
from tasks.api_keys import ApiKey
from tasks.outside_text import utf8


@dataclass(frozen=True)
class Call:
    """Who asks, and for what."""

    request: Request
    key: ApiKey
    field: QueryField

    @property
    def gateway(self) -> Gateway:
        """The gateway of the request."""
        return gateway_of(self.request)

    @property
    def base(self) -> str:
        """The address under which the client reaches this server."""
        return str(self.request.base_url).rstrip("/")

    def wants(self, name: str) -> bool:
        """Whether that field is asked for, at any depth."""
        return _wants(self.field, name)

    def text(self, name: str) -> str:
        """An argument that must be there. Raises QueryError."""
        if found := self.maybe(name):
            return found
        raise QueryError(f"The argument {name} is missing.")

    def maybe(self, name: str) -> str:
        """The argument, '' without one. Raises QueryError for one that is no text."""
        value = self.field.arguments.get(name)
        if value is not None and not isinstance(value, str):
            raise QueryError(f"The argument {name} must be a string.")
        return utf8(value or "")

    def refuse(self, name: str, option: str, why: str) -> None:
        """Raises QueryError if an argument was given that would have no effect here."""
        if self.field.arguments.get(name) not in (None, ""):
            raise QueryError(f"{why}; push without {option}.")


def _wants(field: QueryField, name: str) -> bool:
    return any(inner.name == name or _wants(inner, name) for inner in field.fields)


Answer = Callable[[Call], Awaitable[Any]]

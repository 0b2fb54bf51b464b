"""What a GraphQL query asks for, and how a value is cut to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

SHOWN = 60  # characters of a name


class QueryError(Exception):
    """The document cannot be answered. `code` is one that the client knows."""

    def __init__(self, message: str, code: str = "BAD_USER_INPUT") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class QueryField:
    """A field, the name under which its value is wanted, its arguments, and the fields that are wanted of it."""

    name: str
    key: str
    arguments: Mapping[str, Any]
    fields: "tuple[QueryField, ...]"


def project(value: object, field: QueryField) -> Any:
    """What a field asks of a value. Raises QueryError for a field that the value does not have."""
    if not field.fields or value is None:
        return value
    if isinstance(value, list):
        return [project(item, field) for item in cast("Sequence[object]", value)]
    known = cast("Mapping[str, object]", value)
    found: dict[str, Any] = {}
    for wanted in field.fields:
        if wanted.name not in known:
            raise QueryError(f"{field.name} has no field {wanted.name[:SHOWN]!r} here.")
        found[wanted.key] = project(known[wanted.name], wanted)
    return found

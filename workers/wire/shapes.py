"""Checks JSON objects against a known shape. Anything else is refused before it is used."""

import json
from typing import Any

Shape = dict[str, tuple[type, ...]]  # the members of an object, and the types that each may have
encoded = json.JSONEncoder(separators=(",", ":")).encode
_decoded = json.JSONDecoder().decode


class WireError(ValueError):
    """These bytes are no valid message of a worker or a host."""


def value_of(payload: bytes) -> Any:
    """Parses JSON. Raises WireError."""
    try:
        return _decoded(payload.decode())
    except (ValueError, RecursionError) as error:
        raise WireError(f"This is no JSON: {payload[:100]!r}.") from error


def members_of(value: Any, shape: Shape) -> dict[str, Any]:
    """The value itself, if it is an object with exactly these members. Raises WireError."""
    if type(value) is not dict or value.keys() != shape.keys():
        raise WireError(f"Expected an object of {', '.join(shape)}, not {str(value)[:100]}.")
    for name, types in shape.items():
        if type(value[name]) not in types:
            raise WireError(f"{name} cannot be {str(value[name])[:100]}.")
    return value

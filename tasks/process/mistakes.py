"""Says what is wrong with a value in a plain sentence, where pydantic's own words show its inside."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic_core import ErrorDetails

LONGEST_SHOWN = 80  # characters of a value in a sentence
# What a value must be, for each kind of error that needs no limit.
KINDS: Mapping[str, str] = {
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be a text",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "string_pattern_mismatch": "must be of the form {pattern}",
    "string_too_short": "must have {min_length} characters or more",
    "string_too_long": "must have {max_length} characters at most",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
}
SHOWN = (int, float, str, bool, type(None))  # values that a sentence repeats


def sentence_of(mistake: ErrorDetails | Mapping[str, Any]) -> str:
    """What is wrong, without the name of the field and without a full stop, such as `must be at least 1, not 0`."""
    kind, context = mistake["type"], mistake.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(context.get("error", mistake["msg"]))
    if kind in ("enum", "literal_error"):
        wanted = f"must be {str(context['expected']).replace(chr(39), '')}"
    elif kind in KINDS:
        wanted = KINDS[kind].format(**context)
    else:
        return re.sub(r"^\w+ should ", "must ", str(mistake["msg"]))
    given = mistake.get("input", ...)
    return f"{wanted}, not {shown(given)}" if isinstance(given, SHOWN) else wanted


def shown(value: object) -> str:
    """A value as it was given, shortened."""
    said = repr(value)
    return said if len(said) <= LONGEST_SHOWN else said[: LONGEST_SHOWN - 1] + "…"

"""The types of the values in config.yaml. A null counts as not given. A number may be a string ("4"), as in Truss."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, LiteralString, cast

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from deployments.config.fates import Keys, Wanted
from tasks.outside_text import whole_number

MINIMUM_SECONDS = 10  # of a health check, as Baseten documents it
ACCELERATORS = (
    *("B10", "T4", "L4", "A10G", "V100", "A100", "A100_40GB", "H100", "H200", "H100_40GB"),
    *("B200", "L40S", "RTX_PRO_6000", "B300", "GB300"),
)

PORT_PLACE = re.compile(r"(?<!\$)\{port\}")  # in a start_command
PORT_VARIABLE = re.compile(r"\$(PORT\b|\{PORT\b)")


def names_port(command: object) -> bool:
    """Whether a start_command says where its port goes, so that it runs at any port."""
    text = str(command)
    return bool(PORT_PLACE.search(text) or PORT_VARIABLE.search(text))


def _not_a_flag(value: object) -> object:
    if isinstance(value, bool):  # Python takes True for 1
        raise PydanticCustomError("int_type", "a number")
    return value


def _not_a_number(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise PydanticCustomError("bool_type", "true or false")
    return value


def gpu_name(value: object) -> object:
    name, _, count = str(value).strip().partition(":")
    if not isinstance(value, str) or name not in ACCELERATORS:
        known = ", ".join(ACCELERATORS)
        raise ValueError(f"must name a GPU such as A10G or H100:2, not {value!r}; known: {known}.")
    if ":" in value and not whole_number(count):
        raise ValueError(
            f"must have a count of GPUs after the colon, as in {name}:2, not {value!r}."
        )
    return value


def of_key(message: str) -> PydanticCustomError:
    """An error whose sentence begins with a key of the section."""
    return PydanticCustomError("key", cast("LiteralString", message))


def sized(pattern: str, example: str) -> BeforeValidator:
    def check(value: object) -> object:
        if isinstance(value, str) and not re.fullmatch(pattern, value):
            raise ValueError(f"must be a size such as {example}, not {value!r}.")
        return value

    return BeforeValidator(check)


Flag = Annotated[bool, BeforeValidator(_not_a_number)]
Integer = Annotated[int, BeforeValidator(_not_a_flag)]
Number = Annotated[float, BeforeValidator(_not_a_flag)]
AtLeastOne = Annotated[Integer, Field(ge=1), Wanted("an integer of at least 1")]
Seconds = Annotated[Integer, Field(ge=MINIMUM_SECONDS), Wanted("an integer of at least 10")]
Delay = Annotated[Integer, Field(ge=0), Wanted("an integer of at least 0")]
Positive = Annotated[Number, Field(gt=0), Wanted("a number above 0")]
NotNegative = Annotated[Number, Field(ge=0), Wanted("a number of at least 0")]
Anything = Annotated[Any, Wanted("anything")]
Filled = Annotated[str, Field(min_length=1), Wanted("a string that is not empty")]
Endpoint = Annotated[
    str,
    Field(pattern=r"^/[!-~]*$"),
    Wanted("a path that begins with /, in ASCII and without spaces"),
]


class Section(Keys):
    """A section of config.yaml. Nulls of known keys are dropped before their types are checked."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        values = cast("Mapping[object, object]", given)
        return {
            str(name): value
            for name, value in values.items()
            if value is not None or name not in cls.model_fields
        }

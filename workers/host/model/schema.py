"""The input and output types that a model declares with pydantic annotations."""

from collections.abc import AsyncIterator, Awaitable, Iterator
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from workers.host.errors import InputParsingError

ModelType = type[BaseModel]


@dataclass(frozen=True)
class Schema:
    """The content of `GET /v1/models/model/schema`. Parts that are not declared are None."""

    input_type: ModelType | None
    output_type: ModelType | None
    supports_streaming: bool | None

    @classmethod
    def of(cls, input_annotation: Any, output_annotation: Any) -> "Schema | None":
        """The schema from two annotations, None if neither declares a type."""
        input_type = _model_type(input_annotation)
        output = _output_type(output_annotation)
        if input_type is None and output is None:
            return None
        output_type, streams = output or (None, None)
        return cls(input_type, output_type, streams)

    def to_json(self) -> dict[str, object]:
        """The body of the schema route."""
        return {
            "input_schema": self.input_type.model_json_schema() if self.input_type else None,
            "output_schema": self.output_type.model_json_schema() if self.output_type else None,
            "supports_streaming": self.supports_streaming,
        }


def validate(input_type: ModelType, value: object) -> BaseModel:
    """The value as `input_type`. Raises InputParsingError with one line for each error."""
    try:
        return input_type.model_validate(value)
    except ValidationError as error:
        raise InputParsingError(_explain(error)) from error


def _model_type(annotation: Any) -> ModelType | None:
    # list[int] and the like count as classes for isinstance but not for issubclass
    if (
        isinstance(annotation, type)
        and get_origin(annotation) is None
        and issubclass(annotation, BaseModel)
    ):
        return annotation
    return None


def _output_type(annotation: Any) -> tuple[ModelType | None, bool] | None:
    """The pair (type, streams), or None for an annotation that declares no type."""
    if plain := _model_type(annotation):
        return plain, False
    if _streams(annotation):
        return None, True
    if awaited := _awaited(annotation):
        return awaited, False
    if get_origin(annotation) is Union:  # not `X | Y`, which Truss does not look into
        return _of_union(get_args(annotation))
    return None


def _of_union(arms: tuple[Any, ...]) -> tuple[ModelType | None, bool] | None:
    """The pair (type, True) for the members of Union[Model, Generator] or Union[Awaitable[Model], AsyncGenerator], else None."""
    models = [model for arm in arms if (model := _model_type(arm) or _awaited(arm))]
    streams = [arm for arm in arms if _streams(arm)]
    return (models[0], True) if len(arms) == 2 and len(models) == 1 and streams else None


def _streams(annotation: Any) -> bool:
    """Whether the annotation is a generator or another iterator."""
    """Whether the annotation is a generator or another iterator."""
    origin = get_origin(annotation)
    return isinstance(origin, type) and issubclass(origin, (Iterator, AsyncIterator))


def _awaited(annotation: Any) -> ModelType | None:
    """The Model of Awaitable[Model], else None."""
    """The Model of Awaitable[Model], else None."""
    origin = get_origin(annotation)
    if isinstance(origin, type) and issubclass(origin, Awaitable):
        return _model_type(get_args(annotation)[0])
    return None


def _explain(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_input=False)
    title = "Input Parsing Error:" if len(faults) == 1 else "Input Parsing Errors:"
    return "\n".join(
        [title, *(f"  `{_dotted(fault['loc'])}`: {fault['msg']}." for fault in faults)]
    )


def _dotted(loc: tuple[int | str, ...]) -> str:
    """Writes the place ('items', 1, 'value') as items[1].value."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text

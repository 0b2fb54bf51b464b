"""What Kingpost does with each key of config.yaml: its fate. It honours the key, honours it with a limit, or refuses it.

The schema (`schema.py`) carries a `Fate` for each key. `findings` compares a file with the schema. `rows` makes the
table in docs/config.md, so messages and documentation come from the same data.
"""

import difflib
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

Kind = Literal["honoured", "limited", "refused"]
Given = Mapping[str, object]


@dataclass(frozen=True)
class Fate:
    """What becomes of a key. `said` completes a sentence that begins with the key. With `when`, it holds for some values only."""

    kind: Kind
    said: str = ""
    when: Callable[[object], bool] | None = None

    def applies(self, value: object, default: object) -> bool:
        """Whether this value of the key causes a message."""
        if self.kind == "honoured" or value is None:
            return False
        return self.when(value) if self.when else value not in (default, [], {})


@dataclass(frozen=True)
class Finding:
    """A key of a file that is limited or refused. Unknown keys are refused, too."""

    key: str
    kind: Kind
    sentence: str


def limited(said: str, when: Callable[[object], bool] | None = None) -> Fate:
    """The fate of a key that is not fully supported. The model runs; the push says what does not happen."""
    return Fate("limited", said, when)


def refused(said: str, when: Callable[[object], bool] | None = None) -> Fate:
    """The fate of a key that stops a push, because the model would not run as the file asks. `--allow-unsupported` overrides it."""
    return Fate("refused", said, when)


class Keys(BaseModel):
    """A section of config.yaml. Unknown keys are kept as extras, so that `findings` can report them."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())


def findings(given: Given, schema: type[Keys], path: str = "") -> Iterator[Finding]:
    """The limited and refused keys of a file, in its order. The schema itself reports wrong types."""
    for name, value in given.items():
        key = f"{path}{name}"
        field = schema.model_fields.get(name)
        if field is None:
            yield Finding(key, "refused", _unknown(key, name, schema))
            continue
        fate = fate_of(field)
        if fate.applies(value, field.get_default(call_default_factory=True)):
            yield Finding(key, fate.kind, f"{key} {fate.said}")
        if section := section_of(field):
            yield from _within(value, section, key)


def _within(value: object, section: type[Keys], key: str) -> Iterator[Finding]:
    if isinstance(value, Mapping):
        yield from findings(cast("Given", value), section, f"{key}.")
    elif isinstance(value, list):
        for index, entry in enumerate(cast("list[object]", value)):
            if isinstance(entry, Mapping):
                yield from findings(cast("Given", entry), section, f"{key}[{index}].")


def fate_of(field: FieldInfo) -> Fate:
    """The fate of a key in the schema."""
    return next((item for item in field.metadata if isinstance(item, Fate)), Fate("honoured"))


def section_of(field: FieldInfo) -> type[Keys] | None:
    """The section below a key, or that of each entry of its list."""
    for inner in _inner(field.annotation):
        if isinstance(inner, type) and issubclass(inner, Keys):
            return inner
    return None


def _inner(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType, list, Annotated):
        for part in get_args(annotation):
            yield from _inner(part)
    else:
        yield annotation


def _unknown(key: str, name: str, schema: type[Keys]) -> str:
    near = difflib.get_close_matches(name, schema.model_fields, n=1, cutoff=0.7)
    prefix = key.removesuffix(name)
    if near:
        return f"{key} is no key of config.yaml; did you mean {prefix}{near[0]}?"
    by_name = {row.key.rpartition(".")[2]: row.key for row in reversed(rows())}
    elsewhere = difflib.get_close_matches(name, by_name, n=1, cutoff=0.8)
    if elsewhere:
        return f"{key} is no key of config.yaml; did you mean {by_name[elsewhere[0]]}?"
    return f"{key} is no key of config.yaml; remove it, or put it under model_metadata, which may have any key."


@dataclass(frozen=True)
class Row:
    """One line of the table of all keys."""

    key: str
    wanted: str
    fate: Fate


def rows() -> list[Row]:
    """Every key at every level, in the schema's order."""
    from deployments.config.schema import Config

    return list(_rows(Config, "", Fate("honoured")))


def _rows(schema: type[Keys], path: str, above: Fate) -> Iterator[Row]:
    for name, field in schema.model_fields.items():
        key, section, fate = f"{path}{name}", section_of(field), fate_of(field)
        if fate == Fate("honoured") and above.kind != "honoured":
            fate = above
        yield Row(key, wanted(field.annotation, field.metadata), fate)
        if section:
            many = "[]" if _is_list(field.annotation) else ""
            below = fate if fate.kind == "honoured" else Fate(fate.kind, f"as `{name}`.")
            yield from _rows(section, f"{key}{many}.", below)


def _is_list(annotation: Any) -> bool:
    options = (
        get_args(annotation)
        if get_origin(annotation) in (Union, types.UnionType)
        else (annotation,)
    )
    return any(get_origin(option) is list for option in options)


KEY = "[key]"  # in the place of a pydantic error: the error is in the key of a mapping, which comes before it
A_MAPPING = "a mapping of names to values"
PLURALS = {
    "a string": "a list of strings",
    "a string that is not empty": "a list of strings",
    A_MAPPING: "a list of mappings",
}
NAMES: Mapping[object, str] = {str: "a string", bool: "true or false", int: "an integer"}


@dataclass(frozen=True)
class Wanted:
    """Says what a value must be, where its type alone does not."""

    said: str


def wanted(annotation: Any, metadata: list[Any] | tuple[Any, ...] = ()) -> str:
    """What a value must be, in words."""
    said = next((item.said for item in metadata if isinstance(item, Wanted)), None)
    if said:
        return said
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return wanted(arguments[0], arguments[1:])
    if origin in (Union, types.UnionType):
        return wanted(
            next(argument for argument in arguments if argument is not type(None)), metadata
        )
    if origin is Literal:
        texts = [str(argument) for argument in arguments]
        return f"{', '.join(texts[:-1])} or {texts[-1]}" if len(texts) > 1 else texts[0]
    if origin is list:
        entry = wanted(arguments[0])
        return PLURALS.get(entry, f"a list, each {entry}")
    return NAMES.get(annotation, A_MAPPING)


def wanted_at(schema: type[Keys], where: tuple[int | str, ...]) -> str:
    """What the value at that place must be."""
    if where[-1] == KEY:
        return "a valid name"
    field = schema.model_fields[str(where[0])]
    annotation: Any = field.annotation
    said = wanted(annotation, field.metadata)
    for part in where[1:]:
        options = list(_options(annotation))
        if isinstance(part, int):
            annotation = next(
                get_args(option)[0] for option in options if get_origin(option) is list
            )
            said = wanted(annotation)
        elif sections := [
            option for option in options if isinstance(option, type) and issubclass(option, Keys)
        ]:
            of_it = sections[0].model_fields[part]
            annotation, said = of_it.annotation, wanted(of_it.annotation, of_it.metadata)
        else:
            annotation = next(
                get_args(option)[1] for option in options if get_origin(option) is dict
            )
            said = wanted(annotation)
    return said


def _options(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _options(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for argument in get_args(annotation):
            yield from _options(argument)
    else:
        yield annotation

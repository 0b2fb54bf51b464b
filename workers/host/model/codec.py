"""Decodes the model's input and encodes its output: JSON, or msgpack if the client says octet-stream."""

import json
import sys
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, cast
from uuid import UUID

import msgpack
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from workers.host.call.call import ModelCall
from workers.host.errors import InputParsingError, Reply
from workers.host.model.files import taken_out
from workers.host.model.schema import ModelType, validate

JSON = "application/json"
BINARY = "application/octet-stream"


def parse_input(call: ModelCall, input_type: ModelType | None) -> object:
    """The model's input from the body. Raises InputParsingError. Invalid UTF-8 raises UnicodeDecodeError."""
    if call.is_binary:
        value = unpack(call.body)
        return validate(input_type, value) if input_type else value
    if input_type:
        return validate(input_type, call.files.in_place(_parse_text(call.body), call.body))
    try:
        return call.files.in_place(json.loads(call.body), call.body)
    except json.JSONDecodeError as error:
        raise InputParsingError(f"Invalid JSON payload: {error}") from error


def _parse_text(body: bytes) -> object:
    """Parses JSON in UTF-8. The errors are those of pydantic, with which Truss parses it."""
    try:
        return json.loads(body.decode())
    except ValueError as error:
        raise InputParsingError(f"Input Parsing Error:\n  `__root__`: {error}.") from error


def encode_result(result: object, call: ModelCall) -> Reply:
    """The answer with the model's output. Raises TypeError that names a type that cannot be encoded."""
    if call.is_binary:
        if isinstance(result, BaseModel):
            result = result.model_dump(mode="python")
        return Reply(200, result if isinstance(result, bytes) else pack(result), BINARY)
    if call.link:
        result, files = taken_out(result, call.link)
        return Reply(200, json.dumps(result, default=_to_json).encode(), JSON, files=files)
    if isinstance(result, BaseModel):
        return Reply(200, _model_json(result).encode(), JSON)
    return Reply(200, json.dumps(result, default=_to_json).encode(), JSON)


def _model_json(result: BaseModel) -> str:
    """JSON as pydantic writes it. Half of a surrogate pair, which pydantic cannot write, is escaped."""
    try:
        return result.model_dump_json()
    except PydanticSerializationError:
        return json.dumps(result.model_dump(mode="python"), default=_to_json)


def _to_json(value: Any) -> object:
    numpy: Any = sys.modules.get("numpy")  # who returns an array has imported it
    if numpy is not None and isinstance(value, numpy.ndarray):
        return value.tolist()
    if numpy is not None and isinstance(value, numpy.generic) and value.dtype.kind not in "cSV":
        return value.item()
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def pack(value: object) -> bytes:
    """msgpack with the tags that Truss and msgpack-numpy use."""
    return cast(bytes, msgpack.packb(value, default=_to_msgpack, unicode_errors="backslashreplace"))


def unpack(data: bytes) -> object:
    """The inverse of `pack`. Arrays of objects are never unpickled.

    Raises InputParsingError. Other exceptions than ValueError of a tagged value's type pass through, as in Truss.
    """
    try:
        return msgpack.unpackb(data, object_hook=_from_msgpack)
    except ValueError as error:
        raise InputParsingError(str(error)) from error


def _to_msgpack(value: object) -> object:
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
        return _tag_numpy(numpy, value)
    if isinstance(value, datetime):
        text = value.isoformat()
        return _tag("__dt_datetime_iso__", text[:-6] + "Z" if text.endswith("+00:00") else text)
    if isinstance(value, date):
        return _tag("__dt_date_iso__", value.isoformat())
    if isinstance(value, time):
        if value.utcoffset() is not None:
            raise ValueError("Cannot represent timezone-aware times.")
        return _tag("__dt_time_iso__", value.isoformat())
    if isinstance(value, timedelta):
        return _tag("__dt_timedelta__", (value.days, value.seconds, value.microseconds))
    if isinstance(value, Decimal):
        return _tag("__decimal__", str(value))
    if isinstance(value, UUID):
        return _tag("__uuid__", str(value))
    if isinstance(value, complex):
        return {b"complex": True, b"data": repr(value)}
    return value  # msgpack then says itself what is wrong with it


def _tag(name: str, content: object) -> dict[bytes, object]:
    return {name.encode(): True, b"data": content}


def _tag_numpy(numpy: Any, value: Any) -> dict[bytes, object]:
    if not isinstance(value, numpy.ndarray):
        return {b"nd": False, b"type": value.dtype.str, b"data": value.tobytes()}
    if value.dtype.hasobject:
        raise TypeError("can not serialize a numpy array of objects")
    structured = value.dtype.kind == "V"
    return {
        b"nd": True,
        b"type": value.dtype.descr if structured else value.dtype.str,
        b"kind": b"V" if structured else b"",
        b"shape": value.shape,
        b"data": value.tobytes(),
    }


def _timedelta(parts: Any) -> timedelta:
    days, seconds, microseconds = parts
    return timedelta(days, seconds, microseconds)


UNTAG: dict[bytes, Callable[[Any], object]] = {
    b"__dt_datetime_iso__": datetime.fromisoformat,
    b"__dt_date_iso__": date.fromisoformat,
    b"__dt_time_iso__": time.fromisoformat,
    b"__dt_timedelta__": _timedelta,
    b"__decimal__": Decimal,
    b"__uuid__": UUID,
    b"complex": complex,
}


def _from_msgpack(tagged: dict[Any, Any]) -> object:
    if tagged.get(b"nd") is True and tagged.get(b"kind") == b"O":
        raise ValueError("unsupported payload")
    if b"data" not in tagged:
        return tagged
    if b"nd" in tagged:
        return _numpy_of(tagged)
    for tag, read in UNTAG.items():
        if tag in tagged:
            return read(tagged[b"data"])
    return tagged


def _numpy_of(tagged: dict[bytes, Any]) -> object:
    """Decodes an array or scalar. It imports numpy late, because only some models get arrays."""
    import numpy

    kind, described = tagged.get(b"kind"), tagged[b"type"]
    if kind == b"V":
        described = [tuple(tuple(p) if isinstance(p, list) else p for p in f) for f in described]
    dtype = numpy.dtype(described)
    if dtype.hasobject:  # Truss's server crashes here
        raise ValueError("unsupported payload")
    if not tagged[b"nd"]:
        return numpy.frombuffer(tagged[b"data"], dtype)[0]
    return numpy.ndarray(buffer=tagged[b"data"], dtype=dtype, shape=tagged[b"shape"])

"""What the log store keeps of a log line: its level, its request ids, and its fields as JSON of bounded length."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from tasks.outside_text import utf8, utf8_json

Level = Literal["debug", "info", "warning", "error", "critical"]
LEVELS: tuple[Level, ...] = get_args(Level)
LEVEL_ALIASES: Mapping[str, Level] = {"warn": "warning", "exception": "error", "fatal": "critical", "crit": "critical"}  # fmt: skip
LONGEST = 8192  # characters of a line's JSON; the fields of a longer one are cut
LONGEST_TEXT = 2500  # characters of a field that is cut
LONGEST_ID = 100  # characters of a request id
# The fields that stay of a line whose JSON is too long even after its fields were cut.
CORE = ("ts", "timestamp", "level", "model", "deployment", "event", "message", "traceback", "exception", "request_id", "chain_request_id")  # fmt: skip
TRACES = ("traceback", "exception")  # cut at their beginning, because their end says more


@dataclass(frozen=True, slots=True)
class KeptLine:
    """One line. `rank` is the index of its level in LEVELS. An id is '' if there is none. `text` is a JSON object."""

    rank: int
    request_id: str
    chain_request_id: str
    text: str


def fields_of(text: str) -> dict[str, Any]:
    """The fields of a line that is a JSON object. Any other text becomes the field `message`."""
    try:
        fields: object = json.loads(text, parse_constant=str)  # NaN is not JSON elsewhere
    except (ValueError, RecursionError):
        fields = None
    return cast("dict[str, Any]", fields) if isinstance(fields, dict) else {"message": text}


def level_of(fields: Mapping[str, Any]) -> Level:
    """The level of a line. It is info if the line has none, or an unknown one."""
    said = str(fields.get("level", "info")).lower()
    known = LEVEL_ALIASES.get(said, said)
    return known if known in LEVELS else "info"


def kept_line(fields: Mapping[str, Any]) -> KeptLine:
    """The line to keep. Long fields of a line over LONGEST are cut, and say how much is missing.

    The length of a field is counted before JSON escapes quotes, line breaks and control characters. So a text full of them may
    stay longer than LONGEST.
    """
    text = _json(fields)
    if len(text) > LONGEST:
        text = _json({name: _cut(name, value) for name, value in fields.items()})
    if len(text) > LONGEST:
        core = {name: fields[name] for name in CORE if name in fields}
        text = _json({name: _cut(name, value, LONGEST_TEXT // 4) for name, value in core.items()})
    return KeptLine(
        LEVELS.index(level_of(fields)), _id(fields, "request_id"), _id(fields, "chain_request_id"), text
    )  # fmt: skip


def _id(fields: Mapping[str, Any], name: str) -> str:
    return utf8(str(fields.get(name) or ""))[:LONGEST_ID]


def _json(fields: Mapping[str, Any]) -> str:
    return utf8_json(json.dumps(fields, default=str, ensure_ascii=False))


def _cut(name: str, value: object, longest: int = LONGEST_TEXT) -> object:
    text = value if isinstance(value, str) else _json(cast("dict[str, Any]", value))
    over = len(text) - longest
    if over <= 0:
        return value
    if name in TRACES:
        return f"... ({over} characters before)\n{text[over:]}"
    return f"{text[:longest]}... ({over} characters more)"

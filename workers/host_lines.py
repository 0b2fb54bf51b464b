"""The host's output, line by line: what is not JSON yet, such as prints of C code, becomes it."""

import json
from contextlib import suppress
from datetime import UTC, datetime


def json_line(text: str, model: str) -> str:
    """The line itself if it is an object with a time, else one with the text as its message."""
    if text.startswith('{"ts": '):
        return text
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"ts": now, "level": "info", "model": model, "message": text})


def words_of(text: str) -> str:
    """What the line says, without time and level."""
    with suppress(ValueError, AttributeError):
        fields = json.loads(text)
        return str(fields.get("message") or fields.get("event") or text)
    return text
